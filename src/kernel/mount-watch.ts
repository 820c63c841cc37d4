import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';

const poll = syscall<[Buffer, number, number]>('poll', 'int poll(void *fds, unsigned long count, int timeout)');

/** struct pollfd: a descriptor, what is asked for, and what there is. */
const pollfdBytes = 8;
const eventsAt = 4;
const foundAt = 6;
const POLLPRI = 2;

const forEver = -1;

/** Changes within this time are reported together; if changes do not end, those within the longer time. */
const leastSettleMs = 3;
const mostSettleMs = 24;

/** A change that comes sooner after the previous one is one of many. */
const soonMs = 1;

/**
 * Reports changes of the mount table of our mount namespace, some milliseconds after each: poll(2) on
 * /proc/self/mountinfo returns then (proc_pid_mountinfo(5)). Costs nothing while nothing is mounted or unmounted.
 * Occupies a thread of libuv's pool.
 *
 * @param end a descriptor whose hang-up ends it
 */
export async function watchMounts(end: number, onChange: () => void): Promise<void> {
  const table = openSync('/proc/self/mountinfo', 'r');
  try {
    const fds = Buffer.alloc(2 * pollfdBytes);
    fds.writeInt32LE(table, 0);
    fds.writeInt16LE(POLLPRI, eventsAt);
    fds.writeInt32LE(end, pollfdBytes);
    for (let settleMs = leastSettleMs; ; ) {
      const askedMs = performance.now();
      await changed(fds, forEver);
      const isSoon = performance.now() - askedMs < soonMs;
      settleMs = isSoon ? Math.min(2 * settleMs, mostSettleMs) : leastSettleMs;
      await sleep(settleMs);
      await changed(fds, 0); // changes so far are reported now
      if (fds.readInt16LE(pollfdBytes + foundAt) !== 0) return;
      onChange();
    }
  } finally {
    closeSync(table);
  }
}

async function changed(fds: Buffer, timeoutMs: number): Promise<void> {
  try {
    await poll(fds, fds.length / pollfdBytes, timeoutMs);
  } catch (error) {
    if (errnoOf(error) !== 'EINTR') throw error;
  }
}

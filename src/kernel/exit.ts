import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';

const exit = koffi.load('libc.so.6').func('void _exit(int status)');

/**
 * Ends the process at once, as _exit(2) does. `process.exit()` first waits for every thread, and a thread that is
 * blocked in read(2) on /dev/fuse returns only when its file system is unmounted or this process is gone. Buffered
 * output of streams is lost.
 */
export function exitNow(status: number): never {
  exit(status);
  throw new Error('_exit returned');
}

/** How long a process that was told to end waits for the readers of its standard streams, which may be stopped. */
const maxWrittenMs = 2_000;

const told = new AbortController();

/** To be called if a signal tells this process to end: it bounds the wait of `exitWritten`. */
export function noteToldToEnd(): void {
  told.abort();
}

/**
 * As `exitNow`, after the standard streams have taken all their output. If we are told to end, it waits two seconds
 * more at most.
 */
export async function exitWritten(status: number): Promise<never> {
  await Promise.race([Promise.all([written(process.stdout), written(process.stderr)]), impatience()]);
  exitNow(status);
}

async function impatience(): Promise<void> {
  if (!told.signal.aborted) await once(told.signal, 'abort');
  await sleep(maxWrittenMs);
}

function written(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) return resolve();
    stream.once('error', () => resolve()).write('', () => resolve());
  });
}

import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';

const exit = koffi.load('libc.so.6').func('void _exit(int status)');

/**
 * Ends the process at once, as _exit(2) does. `process.exit()` first waits for every thread, and one that is blocked in
 * read(2) on /dev/fuse returns only when its file system is unmounted, or when this process is gone. What is buffered
 * in streams is lost.
 */
export function exitNow(status: number): never {
  exit(status);
  throw new Error('_exit returned');
}

/** How long a process that was told to end waits for readers of its standard streams, which may be stopped. */
const maxWrittenMs = 2_000;

const told = new AbortController();

/** To be called if a signal tells this process to end: `exitWritten` has a bound then. */
export function noteToldToEnd(): void {
  told.abort();
}

/**
 * As `exitNow`, once the standard streams have taken what was written to them; if we are told to end, two seconds after
 * that at the latest.
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

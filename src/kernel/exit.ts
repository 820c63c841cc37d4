import type { Writable } from 'node:stream';
import koffi from 'koffi';

const exit = koffi.load('libc.so.6').func('void _exit(int status)');

/**
 * Ends the process at once, as _exit(2) does. `process.exit()` first waits for every thread, and one that is blocked in read(2) on
 * /dev/fuse returns only when its file system is unmounted, or when this process is gone. What is buffered in streams is lost.
 */
export function exitNow(status: number): never {
  exit(status);
  throw new Error('_exit returned');
}

/** As `exitNow`, once the standard streams have taken what was written to them. */
export async function exitWritten(status: number): Promise<never> {
  await Promise.all([written(process.stdout), written(process.stderr)]);
  exitNow(status);
}

function written(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) return resolve();
    stream.once('error', () => resolve()).write('', () => resolve());
  });
}

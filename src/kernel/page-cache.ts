import { closeSync, openSync } from 'node:fs';
import { syscallNow } from './libc.ts';

const POSIX_FADV_DONTNEED = 4;

const advise = syscallNow<[number, number, number, number]>(
  'posix_fadvise',
  'int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)',
);

/** Has the kernel forget what it has read of a file, except for what is in use just now. Does not wait for reads. */
export function forget(path: string): void {
  const file = openSync(path, 'r');
  try {
    advise(file, 0, 0, POSIX_FADV_DONTNEED);
  } finally {
    closeSync(file);
  }
}

import { errnoOf } from '../errors.ts';
import { syscallNow } from './libc.ts';

/** FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of linux/falloc.h. */
const punchAndKeepSize = 1 | 2;

const fallocate = syscallNow<[number, number, number, number]>(
  'fallocate',
  'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
);

/**
 * Gives the disk space of bytes [start, end) of a file back; they read as zeros then. Does nothing on a file system
 * that has no holes.
 */
export function punchHole(fd: number, start: number, end: number): void {
  if (start >= end) return;
  try {
    fallocate(fd, punchAndKeepSize, start, end - start);
  } catch (error) {
    if (!noHoles.has(errnoOf(error) ?? '')) throw error;
  }
}

const noHoles = new Set(['EOPNOTSUPP', 'ENOSYS', 'EINVAL']);

import { errnoOf } from '../errors.ts';
import { syscallNow } from './libc.ts';

/** SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER of uapi/linux/fs.h. */
const waitBefore = 1;
const writeAndWait = 1 | 2 | 4;

/** How a kernel, or what filters system calls, says that it does not answer the question. */
const noAnswer = new Set(['ENOSYS', 'EPERM', 'EINVAL', 'EOPNOTSUPP', 'ESPIPE']);

const syncFileRange = syscallNow<[number, number, number, number]>(
  'sync_file_range',
  'int sync_file_range(int fd, int64_t offset, int64_t nbytes, unsigned int flags)',
);

/**
 * Whether the kernel failed to write bytes of a file to the disk since it was asked through this descriptor last, or
 * since that was opened. It forgets such bytes when it needs their memory, and reads zeros in their place. Nothing is
 * written, and only the first page of the file waited for. False if the kernel does not tell.
 */
export function hasLostWrites(fd: number): boolean {
  try {
    syncFileRange(fd, 0, 1, waitBefore);
    return false;
  } catch (error) {
    return !noAnswer.has(errnoOf(error) ?? '');
  }
}

/**
 * Has the kernel write what it holds of a file to the disk, and waits for that, so that the memory can be taken back.
 * What a power cut leaves of it is not known after that either. An error is not told here: a process that syncs the
 * file through another descriptor gets it.
 */
export function writeBack(fd: number): void {
  try {
    syncFileRange(fd, 0, 0, writeAndWait);
  } catch {
    // It stays where it is, or is lost, which `hasLostWrites` of another descriptor tells.
  }
}

import { errnoOf } from '../errors.ts';
import { syscallNow } from './libc.ts';

/** SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER of uapi/linux/fs.h. */
const waitBefore = 1;
const writeAndWait = 1 | 2 | 4;

/** How a kernel, or a filter of system calls, says that it does not answer the question. */
const noAnswer = new Set(['ENOSYS', 'EPERM', 'EINVAL', 'EOPNOTSUPP', 'ESPIPE']);

const syncFileRange = syscallNow<[number, number, number, number]>(
  'sync_file_range',
  'int sync_file_range(int fd, int64_t offset, int64_t nbytes, unsigned int flags)',
);

/**
 * Whether the kernel failed to write bytes of a file to the disk since the last call with this descriptor, or since it
 * was opened. The kernel forgets such bytes when it needs their memory, and reads zeros in their place. The call writes
 * nothing, and waits only for the first page of the file. False if the kernel does not tell.
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
 * Makes the kernel write its cached data of a file to the disk, and waits for that, so that the memory can be
 * reclaimed. It does not protect against a power cut. Errors are not reported here: a process that syncs the file
 * through another descriptor gets them.
 */
export function writeBack(fd: number): void {
  try {
    syncFileRange(fd, 0, 0, writeAndWait);
  } catch {
    // The data stays in memory, or is lost, which `hasLostWrites` of another descriptor reports.
  }
}

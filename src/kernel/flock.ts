import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { LazypullError, errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

const flock = syscall<[number, number]>('flock', 'int flock(int fd, int operation)');

/**
 * Takes the exclusive lock of the file `path`, which is made when it is missing, and writes our pid into it. The kernel
 * releases the lock when this process ends, whatever ends it.
 *
 * @param what what the lock guards, for the message
 * @returns a holder that releases the lock when disposed of
 * @throws FailedPrecondition that names the pid of the holder
 */
export async function lockFile(path: string, what: string): Promise<Disposable> {
  const fd = openSync(path, 'a+', 0o600);
  try {
    await flock(fd, LOCK_EX | LOCK_NB);
  } catch (error) {
    const holder = readFileSync(path, 'utf8').trim();
    closeSync(fd);
    if (!isWouldBlock(error)) {
      throw new LazypullError('Unavailable', `Cannot lock "${path}"`, { cause: error });
    }
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot use ${what}: process ${holder === '' ? 'unknown' : holder} uses it; stop that process or choose another`,
    );
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`);
  return { [Symbol.dispose]: () => closeSync(fd) };
}

/** One number on Linux with two names. */
function isWouldBlock(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'EWOULDBLOCK' || code === 'EAGAIN';
}

import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { LazypullError, errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

const flock = syscall<[number, number]>('flock', 'int flock(int fd, int operation)');

/** A lock, until it is disposed of; a process that inherits the descriptor has it too. */
export interface Lock extends Disposable {
  readonly fd: number;
}

/**
 * The process that has a lock, as it wrote down: its pid, undefined if it has not done so yet, and whether it will soon
 * have done with it.
 */
export interface LockHolder {
  readonly holder: number | undefined;
  readonly isBrief: boolean;
}

export type Locking = { readonly lock: Lock } | LockHolder;

const briefly = 'briefly';

/**
 * Takes the exclusive lock of the file `path`, which is made when it is missing, and writes our pid into it. The kernel
 * releases the lock when this process ends, whatever ends it.
 *
 * @param isBrief tells a process that wants it that waiting is worth while
 * @returns a holder that releases the lock when disposed of, or the process that has it
 */
export async function tryLockFile(path: string, isBrief = false): Promise<Locking> {
  const fd = openSync(path, 'a+', 0o600);
  try {
    await flock(fd, LOCK_EX | LOCK_NB);
  } catch (error) {
    const [pid, note] = readFileSync(path, 'utf8').trim().split(' ');
    closeSync(fd);
    const holder = Number(pid);
    const isKnown = Number.isSafeInteger(holder) && holder > 0;
    if (isWouldBlock(error)) return { holder: isKnown ? holder : undefined, isBrief: note === briefly };
    throw new LazypullError('Unavailable', `Cannot lock "${path}"`, { cause: error });
  }
  ftruncateSync(fd);
  writeSync(fd, isBrief ? `${process.pid} ${briefly}\n` : `${process.pid}\n`);
  return { lock: { fd, [Symbol.dispose]: () => closeSync(fd) } };
}

/** One number on Linux with two names. */
function isWouldBlock(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'EWOULDBLOCK' || code === 'EAGAIN';
}

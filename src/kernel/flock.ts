import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { LazypullError, errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

const flock = syscall<[number, number]>('flock', 'int flock(int fd, int operation)');

/** A lock, held until it is disposed of. A process that inherits the descriptor holds it too. */
export interface Lock extends Disposable {
  readonly fd: number;
}

/**
 * The process that has a lock, as it wrote down: its pid, undefined if it has not done so yet, and whether it needs the
 * lock only briefly.
 */
export interface LockHolder {
  readonly holder: number | undefined;
  readonly isBrief: boolean;
}

export type Locking = { readonly lock: Lock } | LockHolder;

const briefly = 'briefly';

/**
 * Takes the exclusive lock of the file `path` and writes our pid into it. The file is made if it is missing. The kernel
 * releases the lock when this process ends, for whatever reason.
 *
 * @param isBrief tells a process that wants the lock to wait for it
 * @returns a lock that is released when disposed of, or the process that has it
 * @throws FailedPrecondition if something else than a file is there, such as a symlink: where that leads is not ours
 */
export async function tryLockFile(path: string, isBrief = false): Promise<Locking> {
  const fd = openRegular(path);
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

function openRegular(path: string): number {
  let fd: number | undefined;
  try {
    const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    fd = openSync(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
  } catch (error) {
    if (!['ELOOP', 'EISDIR', 'ENXIO', 'ENODEV'].includes(errnoOf(error) ?? '')) throw error;
  }
  throw new LazypullError('FailedPrecondition', `Cannot lock "${path}": it is not a file`, { hint: 'move it away' });
}

/** On Linux both names are one number. */
function isWouldBlock(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'EWOULDBLOCK' || code === 'EAGAIN';
}

/**
 * The daemon's root directory as a whole: which process has it, its possible owners, and how one daemon leaves it to
 * the next. It does not know what the other rooms keep there.
 *
 * Begin with `openRoot`. `ownership.ts` refuses roots that others can write to, `handover.ts` is the request to hand
 * over.
 */

import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LazypullError } from '../errors.ts';
import { type LockHolder, tryLockFile } from '../kernel/flock.ts';
import { hasOpen, identityOf, isDying } from '../kernel/pidfd.ts';
import { forgetHandover, HandoverRequest } from './handover.ts';
import { checkNotShared, checkOnlyOursIn } from './ownership.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/**
 * How long a process may take to end after it began to hand over, was killed, or said that it needs the root only
 * briefly.
 */
const maxWaitMs = 30_000;
const pollMs = 10;
const maxTries = 20;

/** The root directory, taken until it is disposed of. */
export interface Root extends Disposable {
  /**
   * Settles once no other process has the root. A process that was killed while one of its threads was in a system call
   * on its own mounts has the root until that call is answered. So a daemon that takes its place must answer before
   * this resolves. Rejects with `Unavailable` if it takes too long.
   */
  readonly alone: Promise<void>;
}

export interface RootOptions {
  /** Asks the process that uses the root to hand over to us, and waits for that. */
  readonly takeover?: boolean;
  /** Rejects if the directory cannot be used. No process is asked to hand over before that. */
  readonly suits?: (path: string) => Promise<void>;
  /** Tells the next process that wants the root to wait for us instead of giving up. */
  readonly isBrief?: boolean;
  /** How long the process that uses the root may take to hand over; 30 s by default. */
  readonly handoverMs?: number;
  /** Ends the wait for a handover: the process that has the root keeps it, unless it has begun to hand over. */
  readonly signal?: AbortSignal;
}

/**
 * Makes the root directory, with mode 0700, and takes it for this process.
 *
 * @throws FailedPrecondition that names the pid of the process that has it, or if it belongs to another user;
 * Unavailable if it cannot be made, or is not handed over in time; Canceled if `signal` aborted meanwhile
 */
export async function openRoot(path: string, options: RootOptions = {}): Promise<Root> {
  const { takeover = false, isBrief = false } = options;
  checkNotShared(path);
  try {
    makeDirectory(path, 0o700);
    chmodSync(path, 0o700);
  } catch (error) {
    throw new LazypullError('Unavailable', `Cannot make the root directory "${path}"`, { cause: error });
  }
  checkOnlyOursIn(path);
  // If several processes wait for the lock, only one can be next.
  const next = await tryLock(join(path, 'lock.next'), isBrief);
  if (!('lock' in next)) throw inUse(path, next.holder);
  let held: Disposable = next.lock;
  try {
    await options.suits?.(path);
    const file = join(path, 'lock');
    const first = await tryLock(file, isBrief);
    const locking = 'lock' in first || !takeover ? first : await handedOver(path, options);
    const hold = (lock: Disposable): void => {
      held[Symbol.dispose]();
      held = lock;
      forgetHandover(path);
    };
    let alone = Promise.resolve();
    if ('lock' in locking) hold(locking.lock);
    else if (locking.isDying) alone = gone(file, isBrief).then(hold);
    else throw inUse(path, locking.holder);
    alone.catch(() => undefined); // its waiter sees that
    return { alone, [Symbol.dispose]: () => held[Symbol.dispose]() };
  } catch (error) {
    held[Symbol.dispose]();
    throw error;
  }
}

/** A lock; or the process that has it, and whether that process is only waiting to be gone. */
type Locking = { readonly lock: Disposable } | (LockHolder & { readonly isDying: boolean });

/**
 * As `tryLockFile`. A holder that ended meanwhile, or that has not written its pid yet, is not believed at once. If the
 * holder has the lock only briefly, it is waited for.
 */
async function tryLock(file: string, isBrief: boolean): Promise<Locking> {
  const deadline = performance.now() + maxWaitMs;
  for (let tries = 1; ; tries++) {
    const locking = await tryLockFile(file, isBrief);
    if ('lock' in locking) return locking;
    const { holder } = locking;
    if (holder !== undefined && isDying(holder)) return { ...locking, isDying: true };
    const isThere = holder !== undefined && identityOf(holder) !== undefined;
    const isWorthWaiting = locking.isBrief ? performance.now() < deadline : !isThere && tries < maxTries;
    if (!isWorthWaiting) return { ...locking, isDying: false };
    await sleep(pollMs);
  }
}

/** Asks the process that has the lock to hand over, until we have it or the process only waits to be gone. */
async function handedOver(root: string, options: RootOptions): Promise<Locking> {
  const { isBrief = false, handoverMs: waitMs = maxWaitMs, signal } = options;
  const file = join(root, 'lock');
  const asked = new Set<number>();
  let request: HandoverRequest | undefined;
  let isAccepted = false;
  try {
    for (let deadline = performance.now() + waitMs; ; await sleep(pollMs)) {
      const locking = await tryLockFile(file, isBrief);
      if ('lock' in locking) return locking;
      const { holder } = locking;
      if (holder !== undefined && isDying(holder)) return { ...locking, isDying: true };
      if (holder !== undefined && !locking.isBrief && !asked.has(holder) && hasOpen(holder, file)) {
        asked.add(holder);
        request ??= HandoverRequest.write(root);
        process.kill(holder, 'SIGUSR2');
      }
      const isCanceled = signal?.aborted === true && !isAccepted;
      if (performance.now() <= deadline && !isCanceled) continue;
      // A process that has begun hands over to us or to no process.
      isAccepted = request?.withdraw() === false;
      request = undefined;
      if (!isAccepted && isCanceled) throw new LazypullError('Canceled', 'Interrupted');
      if (!isAccepted) throw notHandedOver(root, holder, waitMs);
      deadline = performance.now() + maxWaitMs;
    }
  } finally {
    request?.withdraw();
  }
}

function notHandedOver(root: string, holder: number | undefined, waitMs: number): LazypullError {
  return new LazypullError(
    'Unavailable',
    `Process ${holder ?? 'unknown'}, which has the root directory "${root}", did not hand over within ${waitMs / 1000} s: the request is withdrawn`,
    {
      hint: 'look at its log; if it is stuck or stopped, kill it with SIGKILL and start the daemon again: readers wait meanwhile',
    },
  );
}

async function gone(file: string, isBrief: boolean): Promise<Disposable> {
  for (const deadline = performance.now() + maxWaitMs; performance.now() < deadline; await sleep(pollMs)) {
    const locking = await tryLockFile(file, isBrief);
    if ('lock' in locking) return locking.lock;
  }
  throw new LazypullError('Unavailable', `A killed process still holds "${file}" after ${maxWaitMs / 1000} s`);
}

function inUse(path: string, holder: number | undefined): LazypullError {
  return new LazypullError(
    'FailedPrecondition',
    `Cannot use the root directory "${path}": process ${holder ?? 'unknown'} uses it; stop that process, take its place with --takeover, or choose another root`,
  );
}

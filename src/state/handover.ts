import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { bootId } from '../kernel/boot.ts';
import { identityOf, isDying, isRunning, type ProcessIdentity } from '../kernel/pidfd.ts';
import type { Log } from '../log.ts';
import { replaceFileNow } from '../kernel/replace-file.ts';

/** The process that asks: what the file holds. */
interface Asker extends ProcessIdentity {
  readonly boot: string;
}

/**
 * That this process waits for the one which has a root to hand over. The signal that asks for it stays pending while
 * that one is stopped or busy, and may outlive our patience, or us; a daemon that gets it late must not hand over to no
 * process. So the wish is a file, which one of both takes away, by renaming it.
 */
export class HandoverRequest implements Disposable {
  readonly #root: string;

  /** Writes it down, in place of any before. undefined if that cannot be: the signal is as good as any then. */
  static write(root: string): HandoverRequest | undefined {
    const asker: Asker = { boot: bootId(), ...identityOf(process.pid)! };
    try {
      rmSync(withdrawnPath(root), { force: true });
      replaceFileNow(requestPath(root), JSON.stringify(asker));
      return new HandoverRequest(root);
    } catch {
      return undefined;
    }
  }

  private constructor(root: string) {
    this.#root = root;
  }

  /** Takes it back. @returns false if it was accepted before: then the root is being handed over */
  withdraw(): boolean {
    return renamed(requestPath(this.#root), withdrawnPath(this.#root));
  }

  /** To be called by the process that has the root. */
  [Symbol.dispose](): void {
    forgetHandover(this.#root);
  }
}

/** Removes what is left of requests, which are no longer for any process. By the process that has the root. */
export function forgetHandover(root: string): void {
  for (const path of [requestPath(root), withdrawnPath(root), `${requestPath(root)}.new`])
    rmSync(path, { force: true });
}

/**
 * Whether the process that has a root, and was sent the signal to hand over, shall do so: if the process that asked for
 * it still waits, or if none asked and the signal came from elsewhere, such as a service manager that starts the next
 * one after us.
 */
export function acceptsHandover(root: string, log: Log): boolean {
  const isAsked = renamed(requestPath(root), withdrawnPath(root));
  const asker = isAsked ? readAsker(withdrawnPath(root)) : undefined;
  const isWithdrawn = isAsked ? !isWaiting(asker) : existsSync(withdrawnPath(root));
  rmSync(withdrawnPath(root), { force: true });
  if (isWithdrawn) {
    log.warn({ signal: 'SIGUSR2' }, 'Not handing over: the process that asked for it has given up');
  }
  return !isWithdrawn;
}

function isWaiting(asker: Asker | undefined): boolean {
  return asker !== undefined && asker.boot === bootId() && isRunning(asker) && !isDying(asker.pid);
}

function readAsker(path: string): Asker | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Asker;
  } catch {
    return undefined;
  }
}

function renamed(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch {
    return false; // it is not there, or nothing can be written
  }
}

function requestPath(root: string): string {
  return join(root, 'handover');
}

function withdrawnPath(root: string): string {
  return join(root, 'handover.withdrawn');
}

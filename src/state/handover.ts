import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { bootId } from '../kernel/boot.ts';
import { readOwnFile } from '../kernel/own-file.ts';
import { identityOf, isDying, isRunning, type ProcessIdentity } from '../kernel/pidfd.ts';
import type { Log } from '../log.ts';
import { replaceFileNow } from '../kernel/replace-file.ts';

/** The content of the file: the process that asks. */
interface Asker extends ProcessIdentity {
  readonly boot: string;
}

/**
 * Says that this process waits for the process that has a root to hand over. The signal that asks for it stays pending
 * while that process is stopped or busy, and may outlive our patience, or us. A daemon that gets the signal late must
 * not hand over to no process. So the wish is a file, which one of the two takes away by renaming it.
 */
export class HandoverRequest implements Disposable {
  readonly #root: string;

  /**
   * Writes the request, in place of any older one. Returns undefined if it cannot be written: the signal alone has to
   * do then.
   */
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

  /** Takes the request back. @returns false if it was accepted before: the root is being handed over then */
  withdraw(): boolean {
    return renamed(requestPath(this.#root), withdrawnPath(this.#root));
  }

  /** To be called by the process that owns the root. */
  [Symbol.dispose](): void {
    forgetHandover(this.#root);
  }
}

/** Removes old requests, which no process waits for any more. To be called by the process that owns the root. */
export function forgetHandover(root: string): void {
  for (const path of [requestPath(root), withdrawnPath(root), `${requestPath(root)}.new`])
    rmSync(path, { force: true });
}

/**
 * Whether the process that owns a root hands over after the signal for it. It does if the process that asked
 * still waits. It also does if no process asked, and the signal came from elsewhere, such as a service manager that
 * starts the next daemon after us.
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
    return JSON.parse(readOwnFile(path)) as Asker;
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

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, LazypullError } from '../errors.ts';
import { workerUrl } from '../util/worker-url.ts';
import { pathOf } from './detached-mount.ts';
import { type Lock, tryLockFile } from './flock.ts';
import type { HelperAnswer, HelperCall } from './helper-process.ts';

/** How long the helper of a process that was killed may take to end, once its file system is served again. */
const maxWaitMs = 30_000;
const pollMs = 5;

/** A heap of a few megabytes, and no threads to compile in. */
const nodeOptions = ['--max-semi-space-size=1', '--v8-pool-size=0'];

/** The descriptor by which a helper has the root directory of our FUSE file system. */
const rootDescriptor = 5;

/** Where a helper finds the files of our FUSE file system. */
export const helperRoot = pathOf(rootDescriptor);

interface Waiting {
  readonly resolve: (result: boolean) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A process that makes for us the system calls which may wait for a FUSE file system that we serve. The kernel lets go of a process that was killed only
 * when none of its threads is in such a call: made by ourselves, they would keep us from ending, with nobody left to answer them.
 *
 * It ends with us, or when its call has been answered, by our next life if need be.
 */
export class Helper {
  /** Resolves when no helper of an earlier life is left, and ours has been started. What is mounted changes by us alone from then on. */
  readonly ready: Promise<void>;
  readonly #lockPath: string;
  readonly #root: number | undefined;
  readonly #waiting = new Map<number, Waiting>();
  #child: Promise<ChildProcess> | undefined;
  #next = 0;
  #isClosed = false;

  /**
   * @param lockPath a file that is locked as long as the helper lives
   * @param root a descriptor of the root directory of our FUSE file system, of which the helper has `helperRoot`
   */
  constructor(lockPath: string, root?: number) {
    this.#lockPath = lockPath;
    this.#root = root;
    this.ready = this.#running().then(() => undefined);
    this.ready.catch(() => undefined); // who awaits it, or calls, sees that
  }

  /** Mounts an EROFS image as `mountErofs` of `mount.ts` does. */
  async mountErofs(source: string, target: string): Promise<void> {
    await this.#call('mountErofs', source, target);
  }

  /** Mounts an EROFS image as `fillMountPoint` of `mount-point.ts` does. */
  async fill(source: string, target: string): Promise<void> {
    await this.#call('fill', source, target);
  }

  /** Takes away all that is mounted at `target`, and the directory, as `clearMountPoint` of `mount-point.ts` does with `unmount`. @returns whether there was a mount */
  unmountAll(target: string): Promise<boolean> {
    return this.#call('unmountAll', target);
  }

  /** As `unmountAll`, with `detach`. */
  detachAll(target: string): Promise<boolean> {
    return this.#call('detachAll', target);
  }

  /** Takes a mount out of the tree as `detach` of `mount.ts` does. */
  detach(target: string): Promise<boolean> {
    return this.#call('detach', target);
  }

  /** Reads a file to its end, for what that does to whoever serves it. */
  async read(path: string): Promise<void> {
    await this.#call('read', path);
  }

  /** @returns whether there is such a file */
  exists(path: string): Promise<boolean> {
    return this.#call('exists', path);
  }

  /** Ends the process, whose calls have been answered; every call after that is rejected. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const child = await this.#child?.catch(() => undefined);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.ref();
    const gone = once(child, 'exit');
    if (child.connected) child.disconnect();
    await gone;
  }

  async #call(kind: HelperCall['kind'], ...paths: readonly string[]): Promise<boolean> {
    const child = await this.#running();
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      child.channel?.ref();
      child.send({ id, kind, paths } satisfies HelperCall, (error) => {
        if (error !== null) this.#fail(error);
      });
    });
  }

  /** The process: another one where that has ended. */
  #running(): Promise<ChildProcess> {
    if (this.#isClosed) return Promise.reject(new LazypullError('Unavailable', 'The process that mounts was closed'));
    this.#child ??= this.#start();
    return this.#child;
  }

  async #start(): Promise<ChildProcess> {
    try {
      using lock = await this.#lock(); // which the helper has after that
      const child = fork(workerUrl(import.meta.url, './helper-process'), {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc', lock.fd, ...(this.#root === undefined ? [] : [this.#root])],
        execArgv: nodeOptions,
        env: {},
      });
      child.on('message', (answer: HelperAnswer) => this.#settle(child, answer));
      await once(child, 'spawn');
      child.on('error', (error) => this.#fail(error));
      child.once('exit', (code, signal) => {
        this.#child = undefined;
        this.#fail(new Error(signal ?? `exit code ${code}`));
      });
      child.unref();
      child.channel?.unref();
      return child;
    } catch (error) {
      this.#child = undefined;
      throw new LazypullError('Unavailable', 'Cannot start the process that mounts', { cause: error });
    }
  }

  async #lock(): Promise<Lock> {
    for (const deadline = Date.now() + maxWaitMs; ; await sleep(pollMs)) {
      const locking = await tryLockFile(this.#lockPath);
      if ('lock' in locking) return locking.lock;
      if (Date.now() > deadline) {
        const text = `A process that mounts for an earlier life still has "${this.#lockPath}" after ${maxWaitMs / 1000} s`;
        throw new LazypullError('Unavailable', text);
      }
    }
  }

  #settle(child: ChildProcess, answer: HelperAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) child.channel?.unref();
    if ('result' in answer) waiting?.resolve(answer.result);
    else waiting?.reject(errorOf(answer.error));
  }

  /** Whether the calls under way have had an effect is not known. */
  #fail(cause: unknown): void {
    const error = new LazypullError('Unavailable', 'The process that mounts has ended', { cause });
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

function errorOf({ code, message, cause }: { code: ErrorCode; message: string; cause?: string | undefined }): Error {
  return new LazypullError(code, message, cause === undefined ? {} : { cause: new Error(cause) });
}

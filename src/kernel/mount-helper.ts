import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, LazypullError } from '../errors.ts';
import { type Log, silentLog } from '../log.ts';
import { workerUrl } from '../util/worker-url.ts';
import { pathOf } from './detached-mount.ts';
import { type Lock, tryLockFile } from './flock.ts';
import type { HelperAnswer, HelperCall, MountsChanged } from './mount-helper-process.ts';

/** How long the helper of a killed process may take to end, once its file system is served again. */
const maxWaitMs = 30_000;
const pollMs = 5;

/** A heap of a few megabytes, and no compiler threads. */
const nodeOptions = ['--max-semi-space-size=1', '--v8-pool-size=0'];

/** One thread waits for changes of the mount table, the others make calls. */
const environment = { UV_THREADPOOL_SIZE: '5' };

/** The descriptor of the root directory of our FUSE file system in a helper. */
const rootDescriptor = 5;

/** The path at which a helper finds the files of our FUSE file system. */
export const helperRoot = pathOf(rootDescriptor);

/**
 * No disk takes so long for a call: the helper was stopped, or is stuck. The answer is looked for so often in that
 * time.
 */
const maxCallMs = 60_000;
const looks = 6;

/** How long an idle helper may take to end. */
const maxEndMs = 3_000;

/** How long after the end of a helper another one is started, if none was needed before. */
const againAfterMs = 1_000;

/** How often a call is made if the end of a helper interrupts it. */
const maxTries = 2;

interface Running {
  readonly child: ChildProcess;
  /** The waiters for the answers of calls. They get undefined if the helper ends instead. */
  readonly waiting: Map<number, (answer: HelperAnswer | undefined) => void>;
  /** Fails everything that waits for it: it has ended, or is going to. */
  readonly end: () => void;
  isUnwanted: boolean;
}

/**
 * A process that makes system calls for us which may wait for a FUSE file system that we serve. The kernel lets go of a
 * killed process only when none of its threads is in such a call. If we made them ourselves, they would keep us from
 * ending, and no process would be left to answer them.
 *
 * The helper ends with us, or when its call has been answered, by our next life if need be.
 *
 * It also reports changes of the mount table.
 */
export class MountHelper {
  /**
   * Resolves when no helper of an earlier life is left, and ours has been started. From then on only we change what is
   * mounted.
   */
  readonly ready: Promise<void>;
  readonly #lockPath: string;
  readonly #log: Log;
  readonly #maxCallMs: number;
  #root: number | undefined;
  #current: Promise<Running> | undefined;
  #next = 0;
  #isClosed = false;
  #onMountsChanged: () => void = () => undefined;

  /**
   * @param lockPath a file that is locked as long as the helper lives
   * @param root a descriptor of the root directory of our FUSE file system, which the helper has as `helperRoot`
   * @param callMs how long a call may take before the helper is killed and another one is asked
   */
  constructor(lockPath: string, root?: number, log: Log = silentLog, callMs = maxCallMs) {
    this.#maxCallMs = callMs;
    this.#lockPath = lockPath;
    this.#log = log;
    this.#root = root;
    this.ready = this.#running().then(() => undefined);
    this.ready.catch(() => undefined); // its waiters and callers see that
  }

  /**
   * Calls `action` some milliseconds after something was, or may have been, mounted or unmounted in our mount
   * namespace, by any process.
   */
  onMountsChanged(action: () => void): void {
    this.#onMountsChanged = action;
  }

  /** Mounts an image as `mountImage` of `mount.ts`. */
  async mountImage(type: string, source: string, target: string): Promise<void> {
    await this.#call('mountImage', type, source, target);
  }

  /** Mounts an image as `fillMountPoint` of `mount-point.ts`. */
  async fill(type: string, source: string, target: string): Promise<void> {
    await this.#call('fill', type, source, target);
  }

  /** Mounts an image as `coverMountPoint` of `mount-point.ts`. */
  async cover(type: string, source: string, target: string): Promise<void> {
    await this.#call('cover', type, source, target);
  }

  /** As `fill`, always with a loop device. */
  async fillThroughLoop(type: string, source: string, target: string): Promise<void> {
    await this.#call('fillThroughLoop', type, source, target);
  }

  /**
   * Unmounts everything at `target`, and removes the directory, as `clearMountPoint` of `mount-point.ts` does with
   * `unmount`. @returns whether there was a mount
   */
  unmountAll(target: string): Promise<boolean> {
    return this.#call('unmountAll', target);
  }

  /** As `unmountAll`, with `detach`. */
  detachAll(target: string): Promise<boolean> {
    return this.#call('detachAll', target);
  }

  /** Takes a mount out of the tree as `detach` of `mount.ts`. */
  detach(target: string): Promise<boolean> {
    return this.#call('detach', target);
  }

  /** As `lookFirst` of `first-look.ts`. */
  async lookFirst(directory: string): Promise<void> {
    await this.#call('lookFirst', directory);
  }

  /** Reads a file to its end, for the effect on its server. */
  async read(path: string): Promise<void> {
    await this.#call('read', path);
  }

  /** @returns whether there is such a file */
  exists(path: string): Promise<boolean> {
    return this.#call('exists', path);
  }

  /**
   * Switches to another FUSE file system. Calls that wait for the old one, whose connection must be dead, are made once
   * more.
   */
  renew(root: number): void {
    this.#root = root;
    const before = this.#current;
    this.#current = undefined;
    void before?.then(dismiss, () => undefined);
  }

  /** Ends the process, whose calls have been answered. Later calls reject. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const running = await this.#current?.catch(() => undefined);
    if (running !== undefined) await dismiss(running);
  }

  async #call(kind: HelperCall['kind'], ...texts: readonly string[]): Promise<boolean> {
    for (let tries = 0; tries < maxTries; tries++) {
      const answer = await this.#ask(await this.#running(), kind, texts);
      if (answer === undefined) continue;
      if ('result' in answer) return answer.result;
      throw errorOf(answer.error);
    }
    throw new LazypullError('Unavailable', 'The mount helper has ended');
  }

  /**
   * Resolves to undefined if the process ends before it has answered. It is not known then whether the call had an
   * effect.
   */
  #ask(running: Running, kind: HelperCall['kind'], texts: readonly string[]) {
    const { child, waiting } = running;
    let looked = 0;
    // A single timer would not do: after we were stopped ourselves, there are answers that we have not read yet.
    const timer = setInterval(() => {
      if (++looked === looks) this.#giveUp(running, kind);
    }, this.#maxCallMs / looks).unref();
    return new Promise<HelperAnswer | undefined>((resolve) => {
      const id = this.#next++;
      waiting.set(id, resolve);
      child.channel?.ref();
      child.send({ id, kind, texts } satisfies HelperCall, (error) => {
        if (error !== null && waiting.delete(id)) resolve(undefined);
      });
    }).finally(() => clearInterval(timer));
  }

  #giveUp(running: Running, kind: HelperCall['kind']): void {
    const { child } = running;
    this.#log.error({ pid: child.pid, call: kind }, 'the mount helper does not answer: starting another one');
    running.isUnwanted = true;
    child.kill('SIGKILL');
    running.end();
  }

  /** The process. If it has ended, another one is started. */
  #running(): Promise<Running> {
    if (this.#isClosed) return Promise.reject(new LazypullError('Unavailable', 'The mount helper was closed'));
    if (this.#current === undefined) {
      const starting = this.#start(() => this.#forget(starting));
      this.#current = starting;
      starting.catch(() => this.#forget(starting));
    }
    return this.#current;
  }

  #forget(running: Promise<Running>): void {
    if (this.#current === running) this.#current = undefined;
  }

  async #start(onEnd: () => void): Promise<Running> {
    try {
      using lock = await this.#lock(); // the helper holds it after that
      const child = fork(workerUrl(import.meta.url, './mount-helper-process'), {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc', lock.fd, ...(this.#root === undefined ? [] : [this.#root])],
        execArgv: nodeOptions,
        env: environment,
      });
      const end = (): void => {
        onEnd();
        for (const resolve of running.waiting.values()) resolve(undefined);
        running.waiting.clear();
      };
      const running: Running = { child, waiting: new Map(), end, isUnwanted: false };
      child.on('message', (message: HelperAnswer | MountsChanged) => {
        if ('mountsChanged' in message) this.#onMountsChanged();
        else settle(running, message);
      });
      await once(child, 'spawn');
      child.on('error', () => undefined); // a call could not be sent, which `#ask` sees
      child.once('exit', (code, signal) => {
        const reason = signal ?? `exit code ${code}`;
        if (!running.isUnwanted) {
          this.#log.warn({ pid: child.pid, reason }, 'the mount helper has ended: starting another one');
          setTimeout(() => void this.#running().catch(() => undefined), againAfterMs).unref();
        }
        end();
      });
      child.unref();
      child.channel?.unref();
      this.#onMountsChanged(); // nothing watched until now
      return running;
    } catch (error) {
      throw new LazypullError('Unavailable', 'Cannot start the mount helper', { cause: error });
    }
  }

  async #lock(): Promise<Lock> {
    for (const deadline = performance.now() + maxWaitMs; ; await sleep(pollMs)) {
      const locking = await tryLockFile(this.#lockPath);
      if ('lock' in locking) return locking.lock;
      if (performance.now() > deadline) {
        const text = `A process that mounts for an earlier life still has "${this.#lockPath}" after ${maxWaitMs / 1000} s`;
        throw new LazypullError('Unavailable', text);
      }
    }
  }
}

function settle({ child, waiting }: Running, answer: HelperAnswer): void {
  const resolve = waiting.get(answer.id);
  waiting.delete(answer.id);
  if (waiting.size === 0) child.channel?.unref();
  resolve?.(answer);
}

async function dismiss(running: Running): Promise<void> {
  const { child } = running;
  running.isUnwanted = true;
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.ref();
  const gone = once(child, 'exit');
  if (child.connected) child.disconnect();
  const timer = setTimeout(() => child.kill('SIGKILL'), maxEndMs); // one that was stopped
  await gone;
  clearTimeout(timer);
}

function errorOf({ code, message, cause }: { code: ErrorCode; message: string; cause?: string | undefined }): Error {
  return new LazypullError(code, message, cause === undefined ? {} : { cause: new Error(cause) });
}

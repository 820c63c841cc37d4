import type { KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, errnoOf, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { IndexRepository } from './index-repository.ts';
import type { IndexMetrics } from './metrics.ts';
import type { PendingPushes } from './pending-pushes.ts';
import type { StoredIndex } from './index-store.ts';
import { signIndex } from './signature.ts';

interface Job {
  readonly index: StoredIndex;
  readonly replaces: boolean;
}

/** Indexes that wait to be pushed. If there are more, the oldest are given up. */
const maxQueue = 256;

/** Waits between tries of an index; in each try the registry client tries several times. */
const retryMs = [5_000, 60_000, 300_000];

/** How long a push may take. */
const maxPushMs = 120_000;

/** How long a push that is under way when the process ends may take. */
const drainMs = 2_000;

/** Pushes indexes that were made here to the team's repository, in the background and one after the other. */
export class IndexPublisher implements AsyncDisposable {
  readonly #repository: IndexRepository;
  readonly #key: KeyObject | undefined;
  readonly #log: Log;
  readonly #metrics: IndexMetrics;
  readonly #pending: PendingPushes;
  readonly #queue = new Map<string, Job>();
  readonly #stop = new AbortController();
  #working: Promise<void> | undefined;
  #hasFailed = false;

  /**
   * @param key signs pushed indexes
   * @param pending remembers what waits, for the next life of the daemon
   */
  constructor(
    repository: IndexRepository,
    key: KeyObject | undefined,
    pending: PendingPushes,
    metrics: IndexMetrics,
    log: Log,
  ) {
    this.#pending = pending;
    this.#metrics = metrics;
    this.#repository = repository;
    this.#key = key;
    this.#log = log;
  }

  /**
   * Queues an index to push, and writes that down. One of the same layer that already waits is dropped. Never rejects.
   *
   * @param replaces whether it replaces an unused one in the repository
   */
  async add(index: StoredIndex, replaces: boolean): Promise<void> {
    const { layer } = index;
    await this.#pending.add({ layer, replaces }).catch((error: unknown) => {
      this.#log.warn({ layer, error: messageOf(error) }, 'cannot write down that an index is to be pushed');
    });
    this.#add(index, replaces);
  }

  /**
   * Queues what an earlier life has left. Never rejects.
   *
   * @param find an index that was made here
   */
  async resume(find: (layer: string) => Promise<StoredIndex | undefined>): Promise<void> {
    try {
      for (const { layer, replaces } of await this.#pending.take(maxQueue)) {
        if (this.#queue.has(layer)) continue;
        const index = await find(layer);
        if (index === undefined) await this.#pending.remove(layer);
        else this.#add(index, replaces);
      }
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'Cannot push indexes that an earlier life of the daemon has left');
    }
  }

  #add(index: StoredIndex, replaces: boolean): void {
    if (this.#stop.signal.aborted) return;
    this.#queue.delete(index.layer);
    this.#queue.set(index.layer, { index, replaces });
    const [oldest] = this.#queue.keys();
    if (this.#queue.size > maxQueue && oldest !== undefined) {
      this.#queue.delete(oldest);
      void this.#forget(oldest);
      this.#metrics.pushes.add(1, { result: 'dropped' });
      this.#log.warn({ layer: oldest, waiting: maxQueue }, 'Not pushing the index of a layer: too many are waiting');
    }
    this.#working ??= this.#work().finally(() => (this.#working = undefined));
  }

  /** Settles once nothing waits, or after `withinMs`. @returns whether nothing waits */
  async idle(withinMs: number): Promise<boolean> {
    const stop = new AbortController();
    const over = sleep(withinMs, undefined, { signal: stop.signal }).catch(() => undefined);
    const work = async (): Promise<void> => {
      while (this.#working !== undefined && !stop.signal.aborted) await this.#working;
    };
    await Promise.race([work(), over]);
    stop.abort();
    return this.#working === undefined;
  }

  /** A push under way has a moment. What waits is left for the next life. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#metrics.pushes.add(this.#queue.size, { result: 'left' });
    this.#queue.clear();
    await Promise.race([this.#working, sleep(drainMs, undefined, { ref: false })]);
    this.#stop.abort();
    await this.#working;
  }

  async #work(): Promise<void> {
    for (let job = this.#next(); job !== undefined && !this.#stop.signal.aborted; job = this.#next()) {
      for (const delayMs of [...retryMs, undefined]) {
        const { layer } = job.index;
        const isDone = await this.#push(job);
        if (isDone && !this.#queue.has(layer)) await this.#forget(layer);
        if (isDone || this.#queue.has(layer)) break;
        if (this.#stop.signal.aborted) this.#metrics.pushes.add(1, { result: 'left' });
        else if (delayMs === undefined) this.#metrics.pushes.add(1, { result: 'failed' });
        if (delayMs === undefined || this.#stop.signal.aborted) break;
        await sleep(delayMs, undefined, { signal: this.#stop.signal, ref: false }).catch(() => undefined);
        if (this.#stop.signal.aborted) return;
      }
    }
  }

  #next(): Job | undefined {
    const [job] = this.#queue.values();
    if (job !== undefined) this.#queue.delete(job.index.layer);
    return job;
  }

  /** Forgets that an index is to be pushed. */
  async #forget(layer: string): Promise<void> {
    await this.#pending.remove(layer).catch((error: unknown) => {
      this.#log.warn({ layer, error: messageOf(error) }, 'cannot forget that an index was to be pushed');
    });
  }

  /** @returns whether the job is done, or there is no use in another try */
  async #push({ index, replaces }: Job): Promise<boolean> {
    const { layer, path, size } = index;
    const where = { layer, repository: this.#repository.name };
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(maxPushMs)]);
    try {
      if (!replaces && (await this.#repository.present(layer, signal)) !== undefined) {
        this.#log.debug(where, 'the repository has an index of a layer already');
        this.#metrics.pushes.add(1, { result: 'present' });
        return true;
      }
      const signature = this.#key === undefined ? index.signature : signIndex(index, this.#key);
      await this.#repository.push({ ...index, signature }, () => createReadStream(path, { end: size - 1 }), signal);
      this.#log.info({ ...where, bytes: size }, 'Pushed the index of a layer');
      this.#metrics.pushes.add(1, { result: 'pushed' });
      this.#hasFailed = false;
      return true;
    } catch (error) {
      if (this.#stop.signal.aborted) return false;
      if (errnoOf(error) === 'ENOENT') {
        // It was removed meanwhile.
        this.#metrics.pushes.add(1, { result: 'dropped' });
        return true;
      }
      const fields = { ...where, error: messageOf(error) };
      if (this.#hasFailed) this.#log.debug(fields, 'cannot push the index of a layer');
      else this.#log.warn(fields, 'Cannot push the index of a layer');
      this.#hasFailed = true;
      if (isFinal.has(codeOf(error))) this.#metrics.pushes.add(1, { result: 'failed' });
      return isFinal.has(codeOf(error));
    }
  }
}

/** Errors that another try does not change. */
const isFinal: ReadonlySet<string> = new Set(['InvalidArgument', 'FailedPrecondition', 'Unimplemented']);

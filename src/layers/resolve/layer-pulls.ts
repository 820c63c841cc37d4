import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, type ErrorCode, LazypullError } from '../../errors.ts';
import { unindexed } from '../../chunks/layer-id.ts';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { layerIndexFormat } from '../../formats/layer-index-file/format.ts';
import type { ImageAccess } from '../../images/image-access.ts';
import type { Log } from '../../log.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import { Rate } from '../../util/rate.ts';
import type { SilentRegistries } from './silent-registries.ts';
import { unlessAborted } from '../../util/unless-aborted.ts';
import type { MadeIndex } from '../pull/made-index.ts';
import { ampleMemory } from '../memory-budget.ts';
import type { LayerMetrics } from '../metrics.ts';
import type { LayerPuller, PulledLayer as Pulled } from '../pull/puller.ts';
import { UnkeptIndex } from '../store/unkept-index.ts';
import { LayerDirectory, type LayerRecord, recordVersion } from '../store/layer-directory.ts';
import { makeDirectory } from '../../kernel/make-directory.ts';

/** How many pulls run at a time if nothing waits for them; more if they are small together. */
const pullsAtOnce = 4;
const smallPullsBytes = 40 << 20;

/** Maximum number of known pulls, of all images. */
const maxPulls = 512;

/** How long an image's other layers are pulled after the last call of its client. */
const aheadMs = 30_000;

/** How long a registry may send nothing of a layer, before the layer is left to the client. */
const firstByteMs = 20_000;

/** How long work that can wait does so for pulls. */
const quietMs = 2_000;

/** Does the pulling: a `LayerPuller`. */
export type Puller = Pick<LayerPuller, 'pull'>;

/** A layer that is completely on the disk, verified, with its record. */
export interface PulledLayer {
  readonly record: LayerRecord;
  readonly table: ChunkTable;
  /** The layer index beside it, or why none could be made. */
  readonly index: MadeIndex;
  /** Whether its data is synced to the disk, and its residency recorded. */
  readonly isSettled: boolean;
  /** Whether parts of it can be had again. */
  readonly takesRanges: boolean;
  readonly ms: number;
}

/** A pull under way. */
export interface PullStatus {
  readonly digest: string;
  readonly reference: string;
  /** In milliseconds since 1970. */
  readonly startedMs: number;
  readonly doneBytes: number;
  /** 0 if it is not known yet. */
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
  /** Calls that wait for it. */
  readonly waiting: number;
}

interface Pull {
  readonly digest: string;
  readonly image: ImageAccess;
  /** Bytes of the blob, 0 if they are not known. */
  readonly bytes: number;
  readonly path: string;
  readonly abort: AbortController;
  readonly rate: Rate;
  startedMs: number;
  doneBytes: number;
  totalBytes: number;
  waiting: number;
  /** Undefined until its turn comes. */
  work: Promise<PulledLayer> | undefined;
  isOver: boolean;
}

interface Image {
  /** Calls that wait for a layer of it. */
  waiting: number;
  timer: NodeJS.Timeout | undefined;
}

export interface LayerPullsOptions {
  /** Undefined if nothing can pull. */
  readonly puller: Puller | undefined;
  /** Is informed of registries that do not answer; these are not asked again soon. */
  readonly silent: Pick<SilentRegistries, 'check' | 'answered' | 'failed'>;
  /** Small pulls that run at a time without a call that waits for them. */
  readonly smallAtOnce?: number;
  /** As `firstByteMs`, for tests. */
  readonly patienceMs?: number;
  readonly metrics: LayerMetrics;
  /** A directory that is only for layers that are being pulled. */
  readonly path: string;
  /** Takes a pulled layer that no client has asked for: moves the directory away, or leaves it to be removed. */
  readonly keep: (digest: string, path: string) => Promise<unknown>;
  readonly log: Log;
}

/**
 * The pulls of layers without an index: those that calls wait for, and those of the other layers of their images, which
 * will be asked for next. A pull ends early if no call waits for any layer of its image.
 */
export class LayerPulls {
  readonly #options: LayerPullsOptions;
  readonly #pulls = new Map<string, Pull>();
  readonly #images = new Map<string, Image>();
  readonly #running = new Set<Promise<unknown>>();
  #next = 0;
  #isClosed = false;

  constructor(options: LayerPullsOptions) {
    this.#options = options;
  }

  /** Whether anything can pull. */
  get isPossible(): boolean {
    return this.#options.puller !== undefined;
  }

  has(digest: string): boolean {
    return this.#pulls.has(digest);
  }

  /** Queues the pull of a layer that no call waits for yet. */
  begin(image: ImageAccess, digest: string, bytes: number): void {
    if (this.#isClosed || !this.isPossible || this.#pulls.has(digest) || this.#pulls.size >= maxPulls) return;
    if (!this.#images.has(image.reference)) return; // its client has gone
    this.#add(image, digest, bytes);
    this.#startNext();
  }

  /** Ends the pull of a layer, unless a call waits for it. */
  giveUp(digest: string): void {
    const pull = this.#pulls.get(digest);
    if (pull !== undefined) void this.#drop(pull);
  }

  /**
   * Pulls a layer, or joins the present pull, and moves it into `directory`, which must be empty. Rejects with the
   * reason; with that of `signal` if it aborts. One call for a layer at a time.
   */
  async take(image: ImageAccess, digest: string, directory: LayerDirectory, signal: AbortSignal): Promise<PulledLayer> {
    const pull = this.#pulls.get(digest) ?? this.#add(image, digest, 0);
    pull.waiting++;
    try {
      const pulled = await unlessAborted(this.#start(pull), signal);
      await rename(pull.path, directory.path);
      this.#pulls.delete(digest);
      return pulled;
    } catch (error) {
      pull.waiting--;
      void this.#drop(pull);
      throw error;
    }
  }

  /**
   * Notes that a client asks for layers of an image: until it is gone the others are pulled too. @returns a function to
   * call when its call is over
   */
  attend(reference: string): (isDone: boolean) => void {
    const image = this.#attend(reference);
    return (isDone) => this.#leave(reference, image, isDone);
  }

  /** Waits until nothing is pulled, but not for long, and not beyond `signal`: what clients wait for goes first. */
  async quiet(signal: AbortSignal): Promise<void> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(quietMs)]);
    const isOver = (): boolean => deadline.aborted || this.#running.size === 0;
    while (!isOver()) await unlessAborted(Promise.race(this.#running), deadline).catch(() => undefined);
  }

  /** The pulls that have begun. */
  status(): PullStatus[] {
    return [...this.#pulls.values()].flatMap((pull) => {
      const { digest, image, startedMs, doneBytes, totalBytes, waiting, rate, work, isOver } = pull;
      if (work === undefined || isOver) return [];
      return [
        {
          digest,
          reference: image.reference,
          startedMs,
          doneBytes,
          totalBytes,
          waiting,
          bytesPerSecond: rate.perSecond,
        },
      ];
    });
  }

  /** Ends all pulls. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { timer } of this.#images.values()) clearTimeout(timer);
    this.#images.clear();
    for (const pull of this.#pulls.values()) pull.abort.abort(new LazypullError('Canceled', 'The daemon stops'));
    this.#pulls.clear();
    await Promise.allSettled(this.#running);
    await rm(this.#options.path, { recursive: true, force: true }).catch(() => undefined);
  }

  #add(image: ImageAccess, digest: string, bytes: number): Pull {
    const pull: Pull = {
      digest,
      image,
      bytes,
      path: join(this.#options.path, String(this.#next++)),
      abort: new AbortController(),
      rate: new Rate(),
      startedMs: 0,
      doneBytes: 0,
      totalBytes: bytes,
      waiting: 0,
      work: undefined,
      isOver: false,
    };
    this.#pulls.set(digest, pull);
    return pull;
  }

  #startNext(): void {
    const active = [...this.#pulls.values()].filter(({ work, isOver }) => work !== undefined && !isOver);
    let count = active.length;
    let bytes = active.reduce((sum, pull) => sum + pull.totalBytes, 0);
    for (const pull of this.#pulls.values()) {
      if (pull.work !== undefined) continue;
      const isSmall =
        count < (this.#options.smallAtOnce ?? ampleMemory.tailsAhead) && bytes + pull.bytes <= smallPullsBytes;
      if (count >= pullsAtOnce && !isSmall) return;
      count++;
      bytes += pull.bytes;
      void this.#start(pull).catch(() => undefined); // a later caller gets the error
    }
  }

  #start(pull: Pull): Promise<PulledLayer> {
    if (pull.work !== undefined) return pull.work;
    pull.startedMs = Date.now();
    pull.work = this.#run(pull);
    const over = pull.work.then(
      () => undefined,
      () => undefined,
    );
    this.#running.add(over);
    pull.work.catch((error: unknown) => {
      // A later call may succeed. If the blob itself is wrong, it stays wrong, and is not pulled twice.
      if (pull.waiting === 0 && passing.has(codeOf(error))) this.#forget(pull);
    });
    void over.then(() => {
      pull.isOver = true;
      this.#running.delete(over);
      this.#startNext();
    });
    return pull.work;
  }

  #forget(pull: Pull): void {
    if (this.#pulls.get(pull.digest) === pull) this.#pulls.delete(pull.digest);
  }

  async #run(pull: Pull): Promise<PulledLayer> {
    const { digest, image, path, abort } = pull;
    const { reference } = image;
    const { puller, silent, metrics, patienceMs = firstByteMs } = this.#options;
    const directory = new LayerDirectory(path);
    if (puller === undefined) throw new LazypullError('Unimplemented', 'Nothing pulls layers');
    const wanted = { image, digest };
    const startedMs = performance.now();
    const silence = new AbortController();
    const late = new LazypullError('DeadlineExceeded', 'The registry sent nothing of the layer in time');
    const patience = setTimeout(() => silence.abort(late), patienceMs);
    const signal = AbortSignal.any([abort.signal, silence.signal]);
    try {
      silent.check(wanted);
      makeDirectory(path, 0o700);
      abort.signal.throwIfAborted();
      const onProgress = (done: number, total: number): void => {
        pull.rate.add(done - pull.doneBytes);
        metrics.fetchedBytes.add(Math.max(0, done - pull.doneBytes), { reason: 'pull' });
        pull.doneBytes = done;
        pull.totalBytes = total;
      };
      metrics.fetches.add(1, { reason: 'pull' });
      const files = { ...directory.paths, indexPath: directory.indexPath };
      const blob = heard(image.blob(digest), () => clearTimeout(patience));
      const pulled = await puller.pull({ blob, digest, ...files, signal, onProgress });
      abort.signal.throwIfAborted();
      const record = recordOf(digest, reference, pulled);
      const { table, index, takesRanges } = pulled;
      // Without an index, or parts, nothing of it can be fetched again that a killed daemon forgets.
      const isSettled = 'problem' in index || !takesRanges;
      if (isSettled) await directory.settle(record);
      if ('bytes' in index) await new UnkeptIndex(directory).note(index);
      await directory.writeRecord(record);
      silent.answered(reference);
      return { record, table, index, isSettled, takesRanges, ms: performance.now() - startedMs };
    } catch (error) {
      if (!abort.signal.aborted) {
        metrics.failures.add(1, { reason: 'pull' });
        silent.failed(wanted, startedMs, error);
      }
      await rm(path, { recursive: true, force: true }).catch(() => undefined);
      throw error;
    } finally {
      clearTimeout(patience);
    }
  }

  #attend(reference: string): Image {
    let image = this.#images.get(reference);
    if (image === undefined) this.#images.set(reference, (image = { waiting: 0, timer: undefined }));
    clearTimeout(image.timer);
    image.waiting++;
    return image;
  }

  /** A client that got its layer asks for the next one soon; one that gave up, or has to pull itself, does not. */
  #leave(reference: string, image: Image, isDone: boolean): void {
    image.waiting--;
    if (image.waiting > 0 || this.#isClosed) return;
    clearTimeout(image.timer);
    const end = (): void => {
      this.#images.delete(reference);
      for (const pull of this.#pulls.values()) if (pull.image.reference === reference) void this.#drop(pull);
    };
    if (isDone) image.timer = setTimeout(end, aheadMs).unref();
    else end();
  }

  /** Ends a pull that no call waits for. A complete layer goes to the directory of layers. */
  async #drop(pull: Pull): Promise<void> {
    const { digest, path, work, doneBytes, totalBytes, waiting } = pull;
    if (waiting > 0 || this.#pulls.get(digest) !== pull) return;
    this.#pulls.delete(digest);
    const isNearlyDone = work !== undefined && totalBytes > 0 && doneBytes >= totalBytes;
    if (!isNearlyDone) pull.abort.abort(givenUp());
    const dropping = (async () => {
      if (await work?.catch(() => undefined)) await this.#options.keep(digest, path).catch(() => undefined);
      await rm(path, { recursive: true, force: true }).catch(() => undefined);
    })();
    this.#running.add(dropping);
    await dropping;
    this.#running.delete(dropping);
    this.#startNext();
  }
}

/** Failures of pulls that say nothing about the blob. */
const passing: ReadonlySet<ErrorCode> = new Set(['Unavailable', 'DeadlineExceeded', 'ResourceExhausted', 'Unknown']);

/** A blob that reports its first bytes. */
function heard(blob: Blob, onBytes: () => void): Blob {
  return {
    digest: blob.digest,
    async tail(bytes, signal, onMore) {
      const onEach = (): void => {
        onBytes();
        onMore?.();
      };
      const end = await blob.tail(bytes, signal, onEach);
      onBytes();
      return end;
    },
    describe: (signal) => blob.describe(signal),
    range: (start, end, signal) => blob.range(start, end, signal),
    ranges: (parts, signal) => blob.ranges(parts, signal),
    distrust: (askedMs) => blob.distrust(askedMs),
  };
}

function recordOf(digest: string, reference: string, pulled: Pulled): LayerRecord {
  const { front, blobBytes, diskBytes, metadataBytes, dataOffset, table, sums } = pulled;
  const { index: indexDigest } = unindexed(digest);
  const sizes = { blobBytes, diskBytes, metadataBytes, dataOffset, chunks: table.length };
  return {
    version: recordVersion,
    digest,
    indexDigest,
    format: layerIndexFormat.name,
    front,
    reference,
    ...sizes,
    sums,
  };
}

function givenUp(): LazypullError {
  return new LazypullError('Canceled', 'No caller waits for the layer any more');
}

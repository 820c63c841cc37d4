import { readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Digest, digestOfHex, isSha256Hex } from '../chunks/digest.ts';
import { isUnindexed, type LayerId, layerKey, layerPath, unindexed } from '../chunks/layer-id.ts';
import { codeOf, type ErrorCode, LazypullError, messageOf } from '../errors.ts';
import { Fronts } from '../fronts/index.ts';
import type { Formats } from '../formats/index.ts';
import type { LayerFormat } from '../formats/layer-format.ts';
import type { ImageAccess } from '../images/image-access.ts';
import type { DiskBudget } from './cache/disk-budget.ts';
import { Link } from './fetch/link.ts';
import type { FuseLink } from './fuse-link.ts';
import { Layer } from './layer.ts';
import { ofCache } from './layer-origin.ts';
import type { LayersOptions } from './layers-options.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { LayerMetrics } from './metrics.ts';
import type { OpenLayers } from './open-layers.ts';
import { noSpans } from '../spans.ts';
import { TraceStore } from './prefetch/trace.ts';
import { pullLimits } from './pull/pull-limits.ts';
import { LayerPuller } from './pull/puller.ts';
import { Indexer, type KnownLayer } from './resolve/indexer.ts';
import { noIndexes } from './resolve/index-source.ts';
import { openIndexed } from './resolve/open-indexed.ts';
import { LayerPulls, type PullStatus } from './resolve/layer-pulls.ts';
import type { LayerRef } from './resolve/layer-ref.ts';
import { noRanges, RangeSupport } from './resolve/range-support.ts';
import type { Refusal } from './resolve/refusal.ts';
import { type MadeLayer, pullAll, UnindexedLayers } from './resolve/unindexed.ts';
import type { RootDirectory } from './root-directory.ts';
import { checkRecord, LayerDirectory, type LayerRecord } from './store/layer-directory.ts';
import { UnwrittenChunks } from './store/unwritten-chunks.ts';
import { wrapImage } from './store/wrap-image.ts';
import { TableCache } from './table-cache.ts';
import { type OwnOfLayer, stagePath } from './warm-up/practice-layer.ts';
import { practisePull } from './warm-up/practice-pull.ts';
import type { WorkerPool } from './workers/pool.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/**
 * A layer with a blob of so many bytes is fetched whole when it is mounted by an index: about as much is fetched of
 * layers whose blob ends with their index. All layers of an image come at once so.
 */
const littleLayerBytes = 1280 << 10;

/** What a layer fails with if its registry gives no parts of blobs; other reasons have these codes too. */
const withoutRanges: ReadonlySet<ErrorCode> = new Set(['FailedPrecondition', 'Unimplemented']);

/** The parts of `Layers` that opening a layer needs. */
export interface LayerOpenerParts {
  readonly root: RootDirectory;
  readonly formats: Formats;
  readonly fuse: FuseLink;
  readonly threads: WorkerPool;
  readonly layers: OpenLayers;
  readonly budget: DiskBudget;
  readonly memory: MemoryBudget;
  readonly metrics: LayerMetrics;
}

/** Opens layers: from the disk, by an index of a registry, or by pulling them. */
export class LayerOpener {
  readonly #options: LayersOptions;
  readonly #fronts: Fronts;
  readonly #parts: LayerOpenerParts;
  readonly #link = new Link();
  readonly #unwritten = new UnwrittenChunks();
  readonly #tables: TableCache;
  readonly #traces: TraceStore;
  readonly #indexer: Indexer;
  readonly #puller: LayerPuller;
  readonly #pulls: LayerPulls;
  readonly #ranges = new RangeSupport();
  readonly #unindexed: UnindexedLayers;

  constructor(options: LayersOptions, parts: LayerOpenerParts) {
    const { root, threads, memory, metrics, budget } = parts;
    const { log } = options;
    this.#options = options;
    this.#fronts = options.fronts ?? new Fronts();
    this.#parts = parts;
    this.#tables = new TableCache(memory.tableBytes);
    this.#traces = new TraceStore(root.path);
    this.#indexer = new Indexer({
      threads,
      traces: this.#traces,
      prefetchBytes: () => (budget.isFull ? undefined : options.prefetch?.bytes),
      directory: root.layers,
      aheadDirectory: root.ahead,
      memory,
      metrics,
      log,
      spans: options.spans,
    });
    this.#puller = new LayerPuller({
      limits: pullLimits(memory),
      fronts: options.fronts,
      makeRoom: (bytes) => budget.makeRoom(bytes),
      log,
    });
    this.#pulls = new LayerPulls({
      puller: this.#puller,
      silent: this.#indexer.silent,
      metrics,
      smallAtOnce: memory.tailsAhead,
      path: root.pulls,
      keep: (digest, path) => this.#keepPulled(digest, path),
      log,
    });
    this.#unindexed = new UnindexedLayers({
      policy: options.unindexed ?? pullAll,
      indexes: options.indexes ?? noIndexes,
      pulls: this.#pulls,
      plan: (request) => threads.plan(request, () => true),
      isKept: async (digest, index = digest) => (await this.directory({ digest, index }).record()) !== undefined,
      traces: this.#traces,
      ranges: this.#ranges,
      log,
      spans: options.spans,
    });
  }

  /** Why such a layer is left to its client, whatever its content; undefined if it is not. */
  refusalOf(ref: LayerRef): Refusal | undefined {
    return isUnindexed(ref.id) ? this.#unindexed.refusal : undefined;
  }

  /**
   * Answers a client's call for a layer with what `serve` makes of it. If the layer's registry gives no parts of blobs,
   * `serve` gets it a second time, as one without an index: it is pulled whole.
   */
  async answer<T>(named: LayerRef, serve: (ref: LayerRef) => Promise<T>): Promise<T> {
    const ref = await this.kept(named);
    if (isUnindexed(ref.id)) return this.#attended(ref, serve);
    try {
      return await serve(ref);
    } catch (error) {
      if (!withoutRanges.has(codeOf(error)) || this.#unindexed.refusal !== undefined) throw error;
      const { reference } = ref.image;
      if (await this.#ranges.of(reference, ref.image.blob(ref.id.digest))) throw error;
      return this.#attended(this.#whole(ref), serve);
    }
  }

  /** The layer as the disk has it: without an index if it was pulled for want of ranges. */
  async kept(ref: LayerRef): Promise<LayerRef> {
    if (isUnindexed(ref.id) || (await this.#isKept(ref.id, true))) return ref;
    const whole = this.#whole(ref);
    return (await this.#isKept(whole.id, false)) ? whole : ref;
  }

  /** Whether there is a record of a layer; `ifDamaged` if it cannot be read. */
  #isKept(id: LayerId, ifDamaged: boolean): Promise<boolean> {
    return this.directory(id)
      .record()
      .then(
        (record) => record !== undefined,
        () => ifDamaged,
      );
  }

  #whole(ref: LayerRef): LayerRef {
    return { ...ref, id: unindexed(ref.id.digest), format: this.#parts.formats.unindexed };
  }

  async #attended<T>(ref: LayerRef, serve: (ref: LayerRef) => Promise<T>): Promise<T> {
    const leave = this.#unindexed.attend(ref);
    let isDone = false;
    try {
      const made = await serve(ref);
      isDone = true;
      return made;
    } finally {
      leave(isDone);
    }
  }

  /** Opens a layer from the disk, or makes it again from the registry. */
  open(ref: LayerRef, signal: AbortSignal): Promise<Layer> {
    const { spans = noSpans } = this.#options;
    return spans.within('resolve', {}, () => this.#open(ref, signal));
  }

  async #open(ref: LayerRef, signal: AbortSignal): Promise<Layer> {
    try {
      return await this.openKept(ref);
    } catch (error) {
      if (codeOf(error) !== 'NotFound') {
        this.#options.log.warn(
          { layer: ref.id.digest, error: messageOf(error) },
          'cannot use what is kept of a layer: it is fetched again',
        );
      }
    }
    const directory = this.directory(ref.id);
    const made = makeDirectory(directory.path, 0o700);
    if (made === undefined) await directory.clear(); // it was there
    try {
      if (!isUnindexed(ref.id)) {
        // Known already: a request for the end of the blob would bring all of it.
        if (await this.#ranges.isRefused(ref.image.reference)) throw noRanges();
        return await openIndexed(this.#indexer.index(ref, directory), (layer) => this.serve(layer, ref.image));
      }
      return await this.#openMade(await this.#unindexed.make(ref, directory, signal), ref);
    } catch (error) {
      this.#parts.budget.grow(); // the disk may be full
      await directory.remove();
      throw error;
    }
  }

  /** Opens a layer from the disk. Throws NotFound if it was never indexed; another error if its files are unusable. */
  async openKept(ref: LayerRef): Promise<Layer> {
    await this.#parts.layers.closed(layerKey(ref.id));
    const directory = this.directory(ref.id);
    const found = await directory.record();
    if (found === undefined) throw new LazypullError('NotFound', 'Nothing of the layer is on the disk');
    checkRecord(found, ref.id);
    const record = found.isBare ? await this.#wrap(found, directory) : found;
    const blob = ref.image.blob(ref.id.digest);
    const residency = await directory.resident(record);
    const format = this.formatOf(record);
    const table = residency.isOfThisBoot ? undefined : await directory.table(record);
    const codecData = table && (await directory.codecData(record));
    await directory.checkDisk(record, !residency.isOfThisBoot);
    const traces = this.#traces;
    const known = { record, directory, format, table, codecData, ...residency, blob, traces, origin: ofCache };
    return this.serve(known, ref.image);
  }

  /** Mends what an old version left. If the disk cannot be written to, what is mounted of the layer stays as it is. */
  async #wrap(record: LayerRecord, directory: LayerDirectory): Promise<LayerRecord> {
    try {
      return await wrapImage(directory, record);
    } catch (error) {
      if (codeOf(error) === 'DataLoss') throw error;
      const fields = { layer: record.digest, error: messageOf(error) };
      this.#options.log.warn(fields, 'cannot write to a layer that an old version has indexed');
      return record;
    }
  }

  /**
   * Opens a layer that has just been made of an unindexed one, and requests at once what was read of it the last time.
   */
  async #openMade(made: MadeLayer, ref: LayerRef): Promise<Layer> {
    const layer = await this.serve(made, ref.image);
    const bytes = this.#parts.budget.isFull ? undefined : this.#options.prefetch?.bytes;
    if (bytes !== undefined && !layer.complete) {
      const { digest, blobBytes } = made.record;
      const isLittle = blobBytes <= littleLayerBytes;
      // It is only a hint, and no reason to fail.
      const trace = isLittle ? undefined : await this.#traces.load(digest).catch(() => undefined);
      await layer.prefetch(trace, isLittle ? blobBytes : (ref.prefetchBytes ?? bytes), blobBytes);
    }
    layer.recordTrace();
    layer.keep();
    return layer;
  }

  /** Moves a layer into the cache that was pulled for an image, but that its client has not asked for. */
  async #keepPulled(digest: string, path: string): Promise<void> {
    const id = unindexed(digest);
    const directory = this.directory(id);
    await this.#parts.layers.whileClosed(layerKey(id), async () => {
      if ((await directory.record()) !== undefined) return;
      const pulled = new LayerDirectory(path);
      const record = await pulled.record();
      if (record === undefined) return;
      await pulled.settle(record);
      await directory.remove();
      makeDirectory(dirname(directory.path), 0o700);
      await rename(path, directory.path);
    });
    this.#unindexed.keepLeft(digest, directory);
    this.#parts.budget.grow();
  }

  /** @throws Unimplemented for a format of another version of this program */
  formatOf({ format: name }: LayerRecord): LayerFormat {
    const format = this.#parts.formats.named(name);
    if (format !== undefined) return format;
    throw new LazypullError('Unimplemented', `This version does not know the layer format "${name}"`);
  }

  /** The directory of a layer's files. */
  directory(id: LayerId): LayerDirectory {
    return new LayerDirectory(join(this.#parts.root.layers, layerPath(id)));
  }

  /**
   * Opens a layer of an image whose files are there. `own` replaces the parts that it does not share with the others.
   */
  async serve(layer: KnownLayer, image: ImageAccess, own?: OwnOfLayer): Promise<Layer> {
    const { digest } = layer.record;
    const { front: name } = layer.record;
    const front = this.#fronts.named(name);
    if (front === undefined) {
      throw new LazypullError('Unimplemented', `This version does not know the front "${name}"`);
    }
    return Layer.open({
      ...layer,
      front,
      fetchIndex: (start, end, signal) => this.#unindexed.readIndex(digest, image, { start, end }, signal),
      onWrong: isUnindexed({ digest, index: layer.record.indexDigest })
        ? (error) => this.#unindexed.refuse(digest, image, error)
        : undefined,
      fuse: this.#parts.fuse.server,
      threads: this.#parts.threads,
      link: this.#link,
      unwritten: this.#unwritten,
      awake: this.#tables,
      onGrowth: () => this.#parts.budget.grow(),
      metrics: this.#parts.metrics,
      log: this.#options.log,
      spans: this.#options.spans,
      ...own,
    });
  }

  /** As `practisePull`, with the threads that pull. */
  practisePull(digest: Digest, image: ImageAccess, signal: AbortSignal): Promise<void> {
    const path = join(stagePath(this.#parts.root.path), 'pull');
    return practisePull({ puller: this.#puller, digest, image, path, signal });
  }

  /** Keeps the indexes that a killed daemon has made and not kept. It does not wait for that. */
  async keepLeftIndexes(): Promise<void> {
    for (const name of await readdir(this.#parts.root.layers).catch(() => [])) {
      if (!isSha256Hex(name)) continue;
      const digest = digestOfHex(name);
      this.#unindexed.keepLeft(digest, this.directory(unindexed(digest)));
    }
  }

  /** The layers that are being pulled. */
  pulling(): readonly PullStatus[] {
    return this.#pulls.status();
  }

  /** Ends pulls, and requests no more indexes. */
  async leave(): Promise<void> {
    const kept = this.#unindexed.close();
    await this.#pulls.close();
    await kept;
    await this.#puller[Symbol.asyncDispose]();
  }

  /** Ends everything. All layers must have been closed. */
  async close(): Promise<void> {
    await this.leave();
    await this.#indexer.close();
    this.#tables.close();
  }
}

import { readdir } from 'node:fs/promises';
import { type Digest, hexOf } from '../../chunks/digest.ts';
import { codeOf, LazypullError, messageOf } from '../../errors.ts';
import type { LayerFormat, RawIndex } from '../../formats/layer-format.ts';
import type { Log } from '../../log.ts';
import { noSpans, type Spans } from '../../spans.ts';
import { EarlyRequest } from './early-request.ts';
import type { LayerOptions } from '../layer-options.ts';
import { ofToc } from '../layer-origin.ts';
import { type LayerDirectory, type LayerRecord, recordVersion } from '../store/layer-directory.ts';
import type { WorkerPool } from '../workers/pool.ts';
import { ampleMemory, type MemoryBudget } from '../memory-budget.ts';
import type { LayerMetrics } from '../metrics.ts';
import { type PlannedLayer, PlanAhead } from './plan-ahead.ts';
import { SilentRegistries } from './silent-registries.ts';
import type { LayerRef } from './layer-ref.ts';
import { Patience } from './patience.ts';
import { type Tail, BlobTails } from './blob-tails.ts';
import type { Trace, TraceStore } from '../prefetch/trace.ts';

/** The properties of a layer that has just been indexed, or is found on the disk. */
export type KnownLayer = Pick<
  LayerOptions,
  | 'record'
  | 'directory'
  | 'format'
  | 'table'
  | 'codecData'
  | 'resident'
  | 'isOfThisBoot'
  | 'blob'
  | 'indexBytes'
  | 'traces'
  | 'origin'
>;

/** A layer that has just been indexed, to be opened. Disposing of it ends requests whose answers were not taken. */
export interface IndexedLayer extends Disposable {
  readonly known: KnownLayer;
  /** What was read of it when it was last new, if that is known. */
  readonly trace: Trace | undefined;
  /**
   * How much of the blob's start to fetch before it is read, if its publisher says nothing; undefined for nothing at
   * all.
   */
  readonly prefetchBytes: number | undefined;
  /** The data that came with the index, and its offset in the blob; the index reaches to the blob's end. */
  readonly offered: { readonly bytes: Uint8Array; readonly start: number };
  /**
   * To be called when it is open and its first reads have been requested: plans the layer that the client will ask for
   * next.
   */
  planNext(): void;
}

export interface IndexerOptions {
  readonly threads: WorkerPool;
  readonly traces: TraceStore;
  /**
   * How much of a layer's start is fetched before it is read, if its publisher says nothing; called for each layer.
   * Undefined for nothing at all.
   */
  readonly prefetchBytes: () => number | undefined;
  /** The directory of the directories of all layers. */
  readonly directory: string;
  /** A directory that is only for layers that are planned before they are asked for. */
  readonly aheadDirectory: string;
  readonly memory?: MemoryBudget | undefined;
  readonly metrics: LayerMetrics;
  readonly log: Log;
  readonly spans?: Spans | undefined;
}

/**
 * Makes layers from a registry: fetches their indexes, has images planned from them, and requests what will be read
 * first.
 */
export class Indexer {
  readonly #options: IndexerOptions;
  readonly #tails: BlobTails;
  readonly #ahead: PlanAhead;
  /** Which registries did not answer lately. */
  readonly silent: SilentRegistries;
  readonly #closing = new AbortController();

  constructor(options: IndexerOptions) {
    this.#options = options;
    this.silent = new SilentRegistries(options.log);
    const { memory = ampleMemory } = options;
    this.#tails = new BlobTails(options.metrics, this.silent, memory.tailsAhead);
    this.#ahead = new PlanAhead(
      async ({ digest, format }, tail, directory, isAwaited) =>
        this.#planIndex(
          { digest, index: undefined },
          format,
          tail,
          await this.#fetchIndex(format, tail),
          directory,
          isAwaited,
        ),
      options.aheadDirectory,
      memory,
    );
  }

  /** Fills the empty directory of a layer. Rejects with the reason if it cannot be lazy. */
  async index(ref: LayerRef, directory: LayerDirectory): Promise<IndexedLayer> {
    const { traces, prefetchBytes } = this.#options;
    const { image, id } = ref;
    const { digest } = id;
    this.silent.check({ image, digest });
    // What was read of the layer when it was new the last time, if that is known, is asked for at once.
    // a guess, and no reason to fail
    const trace = prefetchBytes() === undefined ? undefined : await traces.load(digest).catch(() => undefined);
    const parts = trace?.ranges.map(([start, end]) => ({ start, end })) ?? [];
    const early = parts.length === 0 ? undefined : new EarlyRequest(image.blob(digest), parts);
    try {
      return await this.#index(ref, directory, trace, early);
    } catch (error) {
      early?.abandon();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new LazypullError('Canceled', 'The daemon stops'));
    this.#tails.close();
    this.silent.close();
    await this.#ahead.close();
  }

  async #index(
    ref: LayerRef,
    directory: LayerDirectory,
    trace: Trace | undefined,
    early: EarlyRequest | undefined,
  ): Promise<IndexedLayer> {
    const { traces, prefetchBytes, log } = this.#options;
    const started = performance.now();
    const siblings = await this.#withoutKept(ref.siblings);
    const { tail, dataEnd, planned, fetchedMs } = await this.#plan(ref, siblings, directory);
    const blob = early?.of(tail.blob) ?? tail.blob;
    const { front, table, codecData, blobBytes, diskBytes, metadataBytes, sums } = planned;
    const record: LayerRecord = {
      version: recordVersion,
      digest: ref.id.digest,
      indexDigest: ref.id.index,
      format: ref.format.name,
      front,
      reference: ref.image.reference,
      blobBytes,
      diskBytes,
      metadataBytes,
      chunks: table.length,
      sums,
    };
    await directory.writeRecord(record);
    const resident = new Uint8Array(new SharedArrayBuffer(table.length));
    log.info(
      {
        layer: ref.id.digest,
        reference: ref.image.reference,
        files: table.length,
        // Both may have begun before a client asked: it waited for the rest.
        fetchMs: Math.round(Math.max(0, fetchedMs - started)),
        planMs: Math.round(performance.now() - Math.max(started, fetchedMs)),
      },
      'indexed a layer',
    );
    const tailStart = tail.size - tail.data.length;
    const startBytes = prefetchBytes();
    return {
      known: {
        record,
        directory,
        format: ref.format,
        table,
        codecData,
        resident,
        isOfThisBoot: true,
        blob,
        indexBytes: Math.max(tail.data.length, tail.size - dataEnd),
        traces,
        origin: ofToc,
      },
      trace,
      prefetchBytes: startBytes === undefined ? undefined : (ref.prefetchBytes ?? startBytes),
      offered: { bytes: tail.data.subarray(0, Math.max(0, dataEnd - tailStart)), start: tailStart },
      planNext: () => this.#planAhead(ref.format, siblings),
      [Symbol.dispose]: () => early?.abandon(),
    };
  }

  /**
   * Fetches a layer's index and has its image planned; a second time if the first index is not the one of the manifest.
   */
  async #plan(ref: LayerRef, siblings: readonly Digest[], directory: LayerDirectory): Promise<PlannedLayer> {
    const { image, id, format } = ref;
    const { digest } = id;
    const ahead = await this.#ahead.take(id, directory);
    if (ahead !== undefined) {
      this.#expect(ref, siblings);
      return ahead;
    }
    this.silent.check({ image, digest }); // perhaps that was waited for in vain
    for (let isFirst = true; ; isFirst = false) {
      const started = performance.now();
      const taking = this.#spans.within('index lookup', {}, () => this.#tails.take({ image, digest, format }));
      if (isFirst) this.#expect(ref, siblings);
      const tail = await taking;
      let raw: RawIndex | undefined;
      try {
        raw = await this.#fetchIndex(format, tail);
        return await this.#planIndex(id, format, tail, raw, directory);
      } catch (error) {
        const isWrong = codeOf(error) === 'DataLoss' || (raw === undefined && codeOf(error) === 'FailedPrecondition');
        // Another server may have a better one, and the kept bytes of this one are useless.
        if (isWrong) await tail.blob.distrust(started).catch(() => false);
        if (!isWrong || !isFirst) throw error;
        this.#options.log.warn(
          { layer: digest, reference: image.reference, error: messageOf(error) },
          'asking for a table of contents again',
        );
      }
    }
  }

  async #fetchIndex(format: LayerFormat, tail: Tail): Promise<RawIndex> {
    const { metrics } = this.#options;
    using patience = new Patience();
    const askedMs = performance.now();
    let more = 0;
    const onBytes = (bytes: number): void => {
      more += bytes;
      patience.heard();
    };
    const signal = AbortSignal.any([patience.signal, this.#closing.signal]);
    const { image, blob } = tail;
    const raw = await format.fetchIndex(blob, tail, { onBytes, signal }).catch((error: unknown) => {
      const text = 'The registry sent too little of a table of contents in time';
      const cause = patience.signal.aborted ? new LazypullError('DeadlineExceeded', text, { cause: error }) : error;
      this.silent.stalled({ image, digest: blob.digest, format }, askedMs, cause);
      throw cause;
    });
    if (more > 0) metrics.fetches.add(1, { reason: 'index' });
    metrics.fetchedBytes.add(more, { reason: 'index' });
    return raw;
  }

  /** Has the image planned. The digest of the index is undefined if no manifest names it yet. */
  async #planIndex(
    { digest, index }: { readonly digest: Digest; readonly index: Digest | undefined },
    { name: format }: LayerFormat,
    tail: Tail,
    raw: RawIndex,
    { paths }: LayerDirectory,
    isAwaited: () => boolean = () => true,
  ): Promise<PlannedLayer> {
    const fetchedMs = performance.now();
    const wanted = { layer: digest, index, maxBytes: this.#options.memory?.indexBytes };
    const plan = () => this.#options.threads.plan({ format, raw, wanted, paths }, isAwaited);
    const planned = await this.#spans.within('plan', { 'lazypull.layer': digest }, plan);
    return { tail, dataEnd: raw.dataEnd, planned, fetchedMs };
  }

  get #spans(): Spans {
    return this.#options.spans ?? noSpans;
  }

  /** Fetches the ends of layers that will be asked for soon. */
  #expect({ image, format }: LayerRef, siblings: readonly Digest[]): void {
    this.#tails.expect(
      { image, format },
      siblings.filter((digest) => !this.#ahead.has(digest)),
    );
  }

  /** Plans the layer that will be asked for next. */
  #planAhead(format: LayerFormat, [next]: readonly Digest[]): void {
    if (next === undefined || this.#ahead.has(next) || this.#ahead.isFull) return;
    const tail = this.#tails.takeAhead(next);
    if (tail !== undefined) this.#ahead.begin({ digest: next, format }, tail);
  }

  /** The digests of layers without a directory. */
  async #withoutKept(digests: readonly Digest[]): Promise<Digest[]> {
    if (digests.length === 0) return [];
    const kept = await readdir(this.#options.directory).catch(() => []);
    const names = new Set(kept);
    return digests.filter((digest) => !names.has(hexOf(digest)));
  }
}

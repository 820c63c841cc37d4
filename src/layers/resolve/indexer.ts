import { readdir } from 'node:fs/promises';
import { hexOf } from '../../chunks/digest.ts';
import type { LayerId } from '../../chunks/layer-id.ts';
import { codeOf, LazypullError, messageOf } from '../../errors.ts';
import { fetchToc, type TocBytes } from '../../formats/estargz/fetch-toc.ts';
import type { Log } from '../../log.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import { EarlyRequest } from './early-request.ts';
import type { Layer, LayerOptions } from '../layer.ts';
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

/** What is known of a layer that has just been indexed, or is found on the disk. */
export type KnownLayer = Pick<
  LayerOptions,
  'record' | 'directory' | 'table' | 'resident' | 'isOfThisBoot' | 'blob' | 'traces' | 'origin'
>;

export interface IndexerOptions {
  /** Opens a blob of the repository that the reference names. */
  readonly openBlob: (reference: string, digest: string) => Blob;
  readonly threads: WorkerPool;
  readonly traces: TraceStore;
  /** How much of a layer's start is fetched before it is read, where its publisher says nothing; asked for each layer. Undefined for nothing at all. */
  readonly prefetchBytes: () => number | undefined;
  /** Where the directories of all layers are. */
  readonly directory: string;
  /** A directory for layers that are planned before they are asked for, and nothing else. */
  readonly aheadDirectory: string;
  /** Opens a layer whose files are there. */
  readonly serve: (layer: KnownLayer) => Promise<Layer>;
  readonly memory?: MemoryBudget | undefined;
  readonly metrics: LayerMetrics;
  readonly log: Log;
}

/** Makes layers of what a registry has: fetches their tables of contents, has disks planned of them, and asks for what will be read first. */
export class Indexer {
  readonly #options: IndexerOptions;
  readonly #tails: BlobTails;
  readonly #ahead: PlanAhead;
  readonly #silent: SilentRegistries;
  readonly #closing = new AbortController();

  constructor(options: IndexerOptions) {
    this.#options = options;
    this.#silent = new SilentRegistries(options.openBlob, options.log);
    const { memory = ampleMemory } = options;
    this.#tails = new BlobTails(options.openBlob, options.metrics, this.#silent, memory.tailsAhead);
    this.#ahead = new PlanAhead(
      async (digest, tail, directory, isAwaited) =>
        this.#planToc({ digest }, tail, await this.#toc(tail), directory, isAwaited),
      options.aheadDirectory,
      memory,
    );
  }

  /** Fills the empty directory of a layer and opens it. Rejects with the reason when it cannot be lazy. */
  async index(ref: LayerRef, directory: LayerDirectory): Promise<Layer> {
    const { openBlob, traces, prefetchBytes } = this.#options;
    const { reference, id } = ref;
    const { digest } = id;
    this.#silent.check({ reference, digest });
    // What was read of the layer when it was new the last time, if that is known, is asked for at once.
    const trace = prefetchBytes() === undefined ? undefined : await traces.load(digest).catch(() => undefined); // a guess, and no reason to fail
    const parts = trace?.ranges.map(([start, end]) => ({ start, end })) ?? [];
    const early = parts.length === 0 ? undefined : new EarlyRequest(openBlob(reference, digest), parts);
    try {
      return await this.#index(ref, directory, trace, early);
    } finally {
      early?.abandon();
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new LazypullError('Canceled', 'The daemon stops'));
    this.#tails.close();
    this.#silent.close();
    await this.#ahead.close();
  }

  async #index(
    ref: LayerRef,
    directory: LayerDirectory,
    trace: Trace | undefined,
    early: EarlyRequest | undefined,
  ): Promise<Layer> {
    const { traces, serve, prefetchBytes, log } = this.#options;
    const started = performance.now();
    const siblings = await this.#withoutKept(ref.siblings);
    const { tail, tocOffset, planned, fetchedMs } = await this.#plan(ref, siblings, directory);
    const blob = early?.of(tail.blob) ?? tail.blob;
    const blobBytes = tail.size;
    const { table, diskBytes, metadataBytes, sums } = planned;
    const record: LayerRecord = {
      version: recordVersion,
      digest: ref.id.digest,
      tocDigest: ref.id.index,
      reference: ref.reference,
      blobBytes,
      diskBytes,
      metadataBytes,
      rows: table.length,
      sums,
    };
    await directory.writeRecord(record);
    const resident = new Uint8Array(new SharedArrayBuffer(table.length));
    const layer = await serve({ record, directory, table, resident, isOfThisBoot: true, blob, traces, origin: ofToc });
    const tailStart = blobBytes - tail.data.length;
    const startBytes = prefetchBytes();
    if (startBytes !== undefined) await layer.prefetch(trace, ref.prefetchBytes ?? startBytes, tailStart);
    layer.recordTrace();
    layer.keep();
    const offered = layer.offer(tail.data.subarray(0, Math.max(0, tocOffset - tailStart)), tailStart);
    this.#planAhead(siblings);
    if (tailStart === 0) await offered; // the whole layer is here, and can be mounted without FUSE
    log.info(
      {
        layer: ref.id.digest,
        reference: ref.reference,
        files: table.length,
        fetchMs: Math.round(fetchedMs - started),
        planMs: Math.round(performance.now() - fetchedMs),
      },
      'indexed a layer',
    );
    return layer;
  }

  /** Fetches a layer's table of contents and has its disk planned: a second time where the first table is not the one that the manifest promises. */
  async #plan(ref: LayerRef, siblings: readonly string[], directory: LayerDirectory): Promise<PlannedLayer> {
    const { reference, id } = ref;
    const { digest } = id;
    const ahead = await this.#ahead.take(id, directory);
    if (ahead !== undefined) {
      this.#expect(reference, siblings);
      return ahead;
    }
    this.#silent.check({ reference, digest }); // perhaps that was waited for in vain
    for (let isFirst = true; ; isFirst = false) {
      const started = performance.now();
      const taking = this.#tails.take(reference, digest);
      if (isFirst) this.#expect(reference, siblings);
      const tail = await taking;
      let toc: TocBytes | undefined;
      try {
        toc = await this.#toc(tail);
        return await this.#planToc(id, tail, toc, directory);
      } catch (error) {
        const isWrong = codeOf(error) === 'DataLoss' || (toc === undefined && codeOf(error) === 'FailedPrecondition');
        // Another server may have a better one, and what was kept of this one is of no use.
        if (isWrong) await tail.blob.distrust(started).catch(() => false);
        if (!isWrong || !isFirst) throw error;
        this.#options.log.warn(
          { layer: digest, reference, error: messageOf(error) },
          'asks once more for a table of contents',
        );
      }
    }
  }

  async #toc(tail: Tail): Promise<TocBytes> {
    const { metrics } = this.#options;
    using patience = new Patience();
    const askedMs = performance.now();
    let more = 0;
    const onBytes = (bytes: number): void => {
      more += bytes;
      patience.heard();
    };
    const stop = AbortSignal.any([patience.signal, this.#closing.signal]);
    const toc = await fetchToc(tail.blob, tail.data, tail.size, onBytes, stop).catch((error: unknown) => {
      const text = 'The registry sent too little of a table of contents in time';
      const cause = patience.signal.aborted ? new LazypullError('DeadlineExceeded', text, { cause: error }) : error;
      this.#silent.stalled({ reference: tail.reference, digest: tail.blob.digest }, askedMs, cause);
      throw cause;
    });
    if (more > 0) metrics.fetches.add(1, { reason: 'index' });
    metrics.fetchedBytes.add(more, { reason: 'index' });
    return toc;
  }

  /** @param index what the digest of the table must be, if that is known */
  async #planToc(
    { digest, index }: Pick<LayerId, 'digest'> & Partial<LayerId>,
    tail: Tail,
    toc: TocBytes,
    { diskPath, tablePath, pathsPath, hintsPath, stackingPath }: LayerDirectory,
    isAwaited: () => boolean = () => true,
  ): Promise<PlannedLayer> {
    const fetchedMs = performance.now();
    const paths = { diskPath, tablePath, pathsPath, hintsPath, stackingPath };
    const maxTocBytes = this.#options.memory?.tocBytes;
    const request = { digest, tocDigest: index, blobBytes: tail.size, ...toc, maxTocBytes, ...paths };
    const planned = await this.#options.threads.plan(request, isAwaited);
    return { tail, tocOffset: toc.tocOffset, planned, fetchedMs };
  }

  /** Has the ends of layers fetched that will be asked for soon. */
  #expect(reference: string, siblings: readonly string[]): void {
    this.#tails.expect(
      reference,
      siblings.filter((digest) => !this.#ahead.has(digest)),
    );
  }

  /** Has the layer planned that will be asked for next. */
  #planAhead([next]: readonly string[]): void {
    if (next === undefined || this.#ahead.has(next) || this.#ahead.isFull) return;
    const tail = this.#tails.takeAhead(next);
    if (tail !== undefined) this.#ahead.begin(next, tail);
  }

  /** The digests of which there is no directory yet. */
  async #withoutKept(digests: readonly string[]): Promise<string[]> {
    if (digests.length === 0) return [];
    const kept = await readdir(this.#options.directory).catch(() => []);
    const names = new Set(kept);
    return digests.filter((digest) => !names.has(hexOf(digest)));
  }
}

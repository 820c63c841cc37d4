import type { ChunkRange } from '../../chunks/chunk-range.ts';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { codeOf, LazypullError, messageOf } from '../../errors.ts';
import type { BytesNeeded } from '../../formats/layer-format.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import { type LayerMetrics, layerMetrics } from '../metrics.ts';
import type { UnwrittenChunks } from '../store/unwritten-chunks.ts';
import type { WorkerPool } from '../workers/pool.ts';
import type { Failure } from '../workers/worker.ts';
import { WrongIndex } from './index-parts.ts';
import type { Batch } from './assembler.ts';
import type { ChunkEvents } from './chunk-events.ts';
import type { ChunkStates } from './chunk-states.ts';

/** For so long after the disk refused a chunk, only requested chunks are fetched. */
const thriftyMs = 5_000;

export interface UnpackerOptions extends Pick<ChunkEvents, 'onError' | 'onUnwritable' | 'onKept'> {
  readonly table: ChunkTable;
  readonly threads: WorkerPool;
  /** The layer's id in the pool. */
  readonly target: number;
  /** `bytesNeeded` of the layer's codec. */
  readonly bytesNeeded: BytesNeeded;
  /**
   * Resolves when the parts of the index file that unpacking some chunks needs are here; rejects with the reason if
   * they cannot be fetched.
   */
  readonly needIndex?: ((chunks: ChunkRange) => Promise<void>) | undefined;
  readonly blob: Blob;
  readonly unwritten: UnwrittenChunks;
  readonly metrics?: LayerMetrics | undefined;
}

/** A chunk that there is none of; `ofIndex` if that is the fault of the index. */
type ChunkFailure = Failure & { readonly ofIndex?: WrongIndex | undefined };

/** Turns blob bytes into chunks, and informs the waiters. */
export class Unpacker {
  readonly #options: UnpackerOptions;
  readonly #metrics: LayerMetrics;
  readonly #chunks: ChunkStates;
  readonly #miss: (chunk: number) => void;
  /**
   * Until then, in `performance.now()` milliseconds, only awaited chunks should be fetched: the disk would refuse
   * others.
   */
  #thriftyUntilMs = 0;

  /** @param miss is called for a chunk that a reader waits for and that must be fetched again */
  constructor(options: UnpackerOptions, chunks: ChunkStates, miss: (chunk: number) => void) {
    this.#options = options;
    this.#metrics = options.metrics ?? layerMetrics();
    this.#chunks = chunks;
    this.#miss = miss;
  }

  /** Whether the disk refused a chunk lately. */
  get isThrifty(): boolean {
    return performance.now() < this.#thriftyUntilMs;
  }

  /**
   * Hands a batch to the threads, the awaited chunks first. `requested` is the time of the request, of
   * performance.now().
   */
  async unpack(batch: Batch, requested: number): Promise<void> {
    const { table, bytesNeeded } = this.#options;
    const { chunks, bytes, blobOffset } = batch;
    const runs = this.#wholeStreams(chunks).map(async (run) => {
      const start = table.streamOffset[run.first]!;
      let end = start;
      for (let chunk = run.first; chunk < run.last; chunk++) end = Math.max(end, bytesNeeded(table, chunk).end);
      await this.#unpackRun(run, bytes.subarray(start - blobOffset, end - blobOffset), start, requested);
    });
    await Promise.all(runs);
    batch.release();
  }

  /** Chunks as runs of whole streams, those with an awaited chunk first: each stream is inflated once. */
  #wholeStreams({ first, last }: ChunkRange): ChunkRange[] {
    const { streamOffset } = this.#options.table;
    const awaited: ChunkRange[] = [];
    const others: ChunkRange[] = [];
    for (let start = first; start < last; ) {
      let end = start + 1;
      while (end < last && streamOffset[end] === streamOffset[start]) end++;
      const runs = this.#chunks.isAnyAwaited({ first: start, last: end }) ? awaited : others;
      const run = runs.at(-1);
      if (run?.last === start) run.last = end;
      else runs.push({ first: start, last: end });
      start = end;
    }
    return [...awaited, ...others];
  }

  /** As `WorkerPool.unpack`, once the necessary parts of the index are here. */
  async #unpackWithIndex(chunks: ChunkRange, bytes: Uint8Array, blobOffset: number): Promise<ChunkFailure[]> {
    const { threads, target, needIndex } = this.#options;
    try {
      await needIndex?.(chunks);
    } catch (error) {
      const ofIndex = codeOf(error) === 'DataLoss' ? new WrongIndex(messageOf(error)) : undefined;
      const failure = { code: ofIndex?.code ?? 'Unavailable', message: messageOf(error), ofIndex } as const;
      return Array.from({ length: chunks.last - chunks.first }, (_, i) => ({ chunk: chunks.first + i, ...failure }));
    }
    return threads.unpack(target, chunks, bytes, blobOffset, () => this.#chunks.isAnyAwaited(chunks));
  }

  async #unpackRun(chunks: ChunkRange, bytes: Uint8Array, blobOffset: number, requested: number): Promise<void> {
    const { blob } = this.#options;
    const failures = await this.#unpackWithIndex(chunks, bytes, blobOffset);
    if (failures.length < chunks.last - chunks.first) this.#options.onKept();
    const failed = new Map(failures.map((failure) => [failure.chunk, failure]));
    const isWrong = failures.some(({ code, ofIndex }) => code === 'DataLoss' && ofIndex === undefined);
    const hasOther = isWrong && (await blob.distrust(requested).catch(() => false));
    const again: number[] = [];
    for (let chunk = chunks.first; chunk < chunks.last; chunk++) {
      this.#chunks.arrives(chunk);
      const failure = failed.get(chunk);
      if (failure === undefined || this.#chunks.isResident(chunk)) this.#chunks.settle(chunk);
      else if (failure.code === 'ResourceExhausted') this.#settleUnwritten(failure);
      else {
        const error = failure.ofIndex ?? new LazypullError(failure.code, failure.message);
        if (error.code === 'DataLoss') this.#metrics.verificationFailures.add(1);
        const isTriedAgain =
          error.code === 'DataLoss' && hasOther && this.#chunks.isAwaited(chunk) && !this.#chunks.isElsewhere(chunk);
        this.#options.onError(error, chunk, this.#chunks.isAwaited(chunk) && !isTriedAgain);
        if (isTriedAgain) again.push(chunk);
        else if (!this.#chunks.isComing(chunk)) this.#chunks.settle(chunk, error);
      }
    }
    for (const chunk of again) {
      this.#chunks.goElsewhere(chunk);
      if (this.#chunks.isIdle(chunk)) this.#miss(chunk);
    }
  }

  /**
   * Answers the waiters of a chunk that the disk refused from memory; fetches it again for readers that came too late
   * for that.
   */
  #settleUnwritten({ chunk, code, message, content }: Failure): void {
    const { unwritten, target, onUnwritable } = this.#options;
    this.#thriftyUntilMs = performance.now() + thriftyMs;
    onUnwritable(new LazypullError(code, message));
    if (content !== undefined) {
      unwritten.add(target, chunk, content);
      this.#chunks.settle(chunk, undefined, content);
    } else if (this.#chunks.isAwaited(chunk) && this.#chunks.isIdle(chunk)) this.#miss(chunk);
  }
}

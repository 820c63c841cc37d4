import { LazypullError } from '../../errors.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';
import { Rate } from '../../util/rate.ts';
import { type Verified, Verifier, type VerifierOptions } from '../cache/verifier.ts';
import { type FetchReason, type LayerMetrics, layerMetrics } from '../metrics.ts';
import { nothingFetched } from '../uses/layer-use.ts';
import { pooledBytes } from '../workers/buffer-pool.ts';
import { Assembler } from './assembler.ts';
import { ChunkStates } from './chunk-states.ts';
import { Download } from './download.ts';
import type { Link } from './link.ts';
import { Unpacker, type UnpackerOptions } from './unpacker.ts';
import { Windows } from './windows.ts';

/** Blob bytes that are collected before a thread gets them, unless a reader waits for some of them. */
const batchBytes = 256 << 10;

/** After so many blob bytes in enlarged windows the rest of the layer is streamed. */
const sweepAfterBytes = 32 << 20;

/** Parallel requests of a sweep: the next answer is on its way while one arrives. */
const sweepRequests = 2;

/** A chunk that a reader waits for is requested again if its request will take longer than this to bring it. */
const lateMs = 1_000;

export interface FetcherOptions extends VerifierOptions, UnpackerOptions {
  /** Not 0 for each chunk of which something has been read. */
  readonly read: Uint8Array;
  readonly link: Link;
  readonly metrics?: LayerMetrics | undefined;
}

/**
 * Turns misses into requests. A missing chunk is fetched in a window of its neighbours, misses of chunks that are being
 * fetched join them, and a chunk is readable as soon as its own bytes have arrived.
 */
export class Fetcher {
  /** Blob bytes fetched so far, and the present rate per second. */
  readonly fetched: Record<FetchReason, number> = { ...nothingFetched };
  readonly rate = new Rate();
  readonly #options: FetcherOptions;
  readonly #metrics: LayerMetrics;
  readonly #windows: Windows;
  readonly #chunks: ChunkStates;
  readonly #verifier: Verifier;
  readonly #unpacker: Unpacker;
  readonly #requests = new Set<Download>();
  readonly #downloads = new Set<Promise<void>>();
  readonly #abort = new AbortController();
  /** Blob bytes of windows that earlier misses made larger. */
  #grownBytes = 0;
  #sweeping = false;
  #fillChunk = 0;

  constructor(options: FetcherOptions) {
    this.#options = options;
    this.#metrics = options.metrics ?? layerMetrics();
    this.#windows = new Windows(options.table, options.bytesNeeded, options.link, options.read);
    this.#chunks = new ChunkStates(options.resident);
    this.#verifier = new Verifier(options, this.#chunks, (chunk) => this.#miss(chunk));
    this.#unpacker = new Unpacker(options, this.#chunks, (chunk) => this.#miss(chunk));
  }

  /**
   * Resolves when chunks [first, last) are resident, except for those that it resolves to: the disk refused them.
   * Rejects with the reason if one of them cannot be fetched; the next call tries again.
   */
  async fetch(first: number, last: number): Promise<{ chunk: number; content: Uint8Array }[]> {
    const { unwritten, target } = this.#options;
    const waits: Promise<{ chunk: number; content: Uint8Array | undefined }>[] = [];
    let joins = false;
    for (let chunk = first; chunk < last; chunk++) {
      if (this.#chunks.isResident(chunk)) continue;
      const known = unwritten.get(target, chunk);
      waits.push(
        (known === undefined ? this.#chunks.wait(chunk) : Promise.resolve(known)).then((content) => ({
          chunk,
          content,
        })),
      );
      if (known !== undefined) continue;
      if (!this.#chunks.isComing(chunk)) this.#miss(chunk);
      else joins = true;
    }
    if (joins) this.#hurry({ first, last });
    const chunks = await Promise.all(waits);
    return chunks.flatMap(({ chunk, content }) => (content === undefined ? [] : [{ chunk, content }]));
  }

  /**
   * Fetches chunks that will be read soon, all with one request, and does not wait for them. It skips chunks that are
   * here or being fetched, and chunks that would exceed `maxBytes` blob bytes.
   */
  prefetch(wanted: readonly ChunkRange[], maxBytes: number): void {
    if (this.#unpacker.isThrifty) return;
    const parts: ChunkRange[] = [];
    let bytes = 0;
    let partEnd = 0;
    for (const { first, last } of wanted.toSorted((a, b) => a.first - b.first)) {
      for (let chunk = first; chunk < last; chunk++) {
        const part = parts.at(-1);
        if (!this.#chunks.isIdle(chunk) || (part !== undefined && chunk < part.last)) continue;
        const { start, end } = this.#options.bytesNeeded(this.#options.table, chunk);
        // Ranges must not overlap: what shares a stream with a part is taken with all that is between, which comes
        // anyway.
        const continues = part !== undefined && (part.last === chunk || start < partEnd);
        if (continues && !this.#areIdle({ first: part.last, last: chunk })) continue;
        bytes += Math.max(0, end - Math.max(start, partEnd));
        if (bytes > maxBytes) break;
        if (continues) part.last = chunk + 1;
        else parts.push({ first: chunk, last: chunk + 1 });
        partEnd = Math.max(partEnd, end);
      }
    }
    if (parts.length > 0) this.#track(this.#download(parts, 'prefetch'));
  }

  #areIdle({ first, last }: ChunkRange): boolean {
    for (let chunk = first; chunk < last; chunk++) if (!this.#chunks.isIdle(chunk)) return false;
    return true;
  }

  /** Whether a chunk is here or being fetched. */
  hasAskedFor(chunk: number): boolean {
    return !this.#chunks.isIdle(chunk);
  }

  /** Fetches all chunks whose streams begin before a blob offset, and does not wait for them. */
  prefetchUpTo(blobOffset: number): void {
    const { table } = this.#options;
    let end = 0;
    while (end < table.length && table.streamOffset[end]! < blobOffset) end++;
    this.#track(this.#fill(0, end, 'prefetch'));
  }

  /** Fetches a window of missing chunks, in the order of the blob. @returns its bytes; 0 if none, or if it failed */
  async fillSome(): Promise<number> {
    if (this.#unpacker.isThrifty) return 0;
    const { table } = this.#options;
    const runs = this.#windows.onwards(this.#fillChunk, table.length, (chunk) => this.#chunks.isIdle(chunk));
    this.#fillChunk = runs.at(-1)?.last ?? 0; // failed and skipped chunks are tried again in the next round
    if (runs.length === 0) return 0;
    const download = this.#download(runs, 'background');
    this.#track(download);
    return (await download) ? this.#blobBytes(runs) : 0;
  }

  /** Verifies some chunks that were not read in this life. @returns their bytes; 0 if there are none left */
  verifySome(): Promise<number> {
    return this.#tracked(this.#verifier.some());
  }

  /** Verifies every chunk on the disk again. */
  verifyAll(): Promise<Verified> {
    return this.#tracked(this.#verifier.all(this.#abort.signal));
  }

  /**
   * Takes bytes of the blob that were fetched for another reason, and keeps the complete chunks in them.
   *
   * @param bytes the blob from `start` on; not changed, not kept longer than needed
   */
  async offer(bytes: Uint8Array, start: number): Promise<void> {
    await this.#tracked(this.#offer(bytes, start));
  }

  async #offer(bytes: Uint8Array, start: number): Promise<void> {
    const { table, bytesNeeded, threads } = this.#options;
    const bytesEnd = start + bytes.length;
    let chunk = table.length;
    while (chunk > 0 && table.streamOffset[chunk - 1]! >= start) chunk--;
    while (chunk < table.length && !this.#abort.signal.aborted) {
      const first = chunk;
      const from = table.streamOffset[first]!;
      let to = from;
      for (
        ;
        chunk < table.length && this.#chunks.isIdle(chunk) && table.streamOffset[chunk]! - from < batchBytes;
        chunk++
      ) {
        const { end } = bytesNeeded(table, chunk);
        if (end > bytesEnd) break;
        to = Math.max(to, end);
      }
      if (chunk === first) {
        chunk++;
        continue;
      }
      this.#chunks.come({ first, last: chunk });
      const buffer = threads.buffers.take(to - from);
      buffer.bytes.set(bytes.subarray(from - start, to - start));
      const batch = {
        chunks: { first, last: chunk },
        bytes: buffer.bytes,
        blobOffset: from,
        release: () => buffer.release(),
      };
      await this.#unpacker.unpack(batch, 0);
    }
  }

  /** Whether no request is under way. */
  get isIdle(): boolean {
    return this.#downloads.size === 0 && !this.#chunks.areAwaited;
  }

  /** Ends all requests; their waiters are rejected. */
  async close(): Promise<void> {
    this.#abort.abort(new LazypullError('Canceled', 'The layer was closed'));
    while (this.#downloads.size > 0) await Promise.allSettled(this.#downloads);
    this.#options.unwritten.forget(this.#options.target);
  }

  #miss(chunk: number): void {
    if (this.#chunks.isUnverified(chunk)) {
      this.#track(this.#verifier.chunk(chunk));
      return;
    }
    if (this.#unpacker.isThrifty) {
      this.#track(this.#download([{ first: chunk, last: chunk + 1 }], 'demand'));
      return;
    }
    const { runs, grown } = this.#windows.around(chunk, (other) => this.#chunks.isIdle(other));
    this.#track(this.#download(runs, 'demand'));
    if (!grown || this.#sweeping) return;
    this.#grownBytes += this.#blobBytes(runs);
    if (this.#grownBytes < sweepAfterBytes) return;
    // So many misses so close together mean that all of it is being read: the rest is streamed without waiting for
    // misses.
    this.#sweeping = true;
    this.#track(this.#sweep(runs.at(-1)!.last));
  }

  /** Streams the missing chunks, from `from` to the end of the blob and then from its start. */
  async #sweep(from: number): Promise<void> {
    await this.#fill(from, this.#options.table.length, 'sweep');
    await this.#fill(0, from, 'sweep');
    this.#sweeping = false;
    this.#grownBytes = 0;
  }

  /** Fetches the missing chunks of [first, last), with a few requests at a time. Gives up at the first failure. */
  async #fill(first: number, last: number, reason: FetchReason): Promise<void> {
    let chunk = first;
    const lane = async (): Promise<void> => {
      while (!this.#unpacker.isThrifty) {
        const runs = this.#windows.onwards(chunk, last, (other) => this.#chunks.isIdle(other));
        if (runs.length === 0) return;
        chunk = runs.at(-1)!.last;
        if (!(await this.#download(runs, reason))) chunk = last;
      }
    };
    await Promise.all(Array.from({ length: sweepRequests }, lane));
  }

  #blobBytes(runs: readonly ChunkRange[]): number {
    const { streamOffset, streamEnd } = this.#options.table;
    return runs.reduce((sum, { first, last }) => sum + streamEnd[last - 1]! - streamOffset[first]!, 0);
  }

  #track(work: Promise<unknown>): void {
    const done = work.then(() => {
      this.#downloads.delete(done);
    });
    this.#downloads.add(done);
  }

  #tracked<T>(work: Promise<T>): Promise<T> {
    this.#track(work);
    return work;
  }

  /**
   * Requests chunks again that readers wait for, if the requests which bring them would be late: now, or as soon as
   * that shows.
   */
  #hurry({ first, last }: ChunkRange): void {
    const late: number[] = [];
    let waits = false;
    for (let chunk = first; chunk < last; chunk++) {
      if (!this.#chunks.isAwaited(chunk)) continue;
      const bringing = [...this.#requests].filter((request) => request.msUntil(chunk) !== undefined);
      if (bringing.length === 0 || bringing.some(({ overtakes }) => overtakes)) continue;
      waits = true;
      if (bringing.every((request) => request.msUntil(chunk)! > lateMs)) late.push(chunk);
    }
    const [from, to] = [late[0], late.at(-1)];
    if (from !== undefined && to !== undefined) {
      this.#track(this.#download([{ first: from, last: to + 1 }], 'demand', true));
    } else if (waits) setTimeout(() => this.#hurry({ first, last }), lateMs).unref();
  }

  /**
   * Fetches runs of chunks with one request: idle ones, unless it `overtakes` another request.
   *
   * @returns whether the request itself succeeded; never rejects
   */
  async #download(runs: readonly ChunkRange[], reason: FetchReason, overtakes = false): Promise<boolean> {
    const { table, bytesNeeded, blob, threads, link } = this.#options;
    if (!overtakes) for (const run of runs) this.#widen(run);
    for (const run of runs) {
      this.#chunks.come(run);
      this.#options.needIndex?.(run).catch(() => undefined); // it comes beside the blob's bytes; unpacking waits for it
    }
    const parts = runs.map((run) => new Assembler(table, bytesNeeded, run, threads.buffers));
    const unpacking: Promise<void>[] = [];
    const request = new Download(parts, overtakes);
    this.#requests.add(request);
    this.#metrics.fetches.add(1, { reason });
    let failure: unknown;
    let leave: (() => void) | undefined;
    const isAwaited = (): boolean => runs.some((run) => this.#chunks.isAnyAwaited(run));
    try {
      for await (const { part, data } of blob.ranges(parts, this.#abort.signal)) {
        const assembler = parts[part]!;
        if (threads.requests.isBounded) {
          leave ??= await threads.requests.enter(this.#memoryOf(runs), isAwaited, this.#abort.signal);
        }
        request.add(data.length);
        this.fetched[reason] += data.length;
        this.rate.add(data.length);
        this.#metrics.fetchedBytes.add(data.length, { reason });
        for (let at = 0; at < data.length; ) {
          at += assembler.push(data.subarray(at));
          const { ready, missing, waitingBytes } = assembler;
          if (ready.first === ready.last) continue;
          const isFull = at < data.length;
          const enough =
            isFull || ready.last === missing.last || (waitingBytes >= batchBytes && !assembler.isInsideStream);
          if (!enough && !this.#chunks.isAnyAwaited(ready)) continue;
          unpacking.push(this.#unpacker.unpack(assembler.take(), request.requestedMs));
          await threads.room();
        }
      }
      const { requestedMs, firstByteMs, bytes } = request;
      link.measured(firstByteMs - requestedMs, bytes, performance.now() - firstByteMs);
    } catch (error) {
      failure = error;
      if (!this.#abort.signal.aborted) this.#metrics.failures.add(1, { reason });
    }
    this.#requests.delete(request);
    for (const part of parts) {
      part.close();
      const { missing } = part;
      if (missing.first < missing.last) this.#fail(missing, failure ?? new Error('The answer was too short'));
    }
    await Promise.all(unpacking);
    leave?.();
    return failure === undefined;
  }

  /**
   * Adds the other chunks in the streams of a run's first and last chunk if their bytes come anyway. If the start of a
   * stream comes once more, all that is left of it is taken, so that there is no third time.
   */
  #widen(run: ChunkRange): void {
    const { streamOffset, streamEnd, length } = this.#options.table;
    const isSame = (chunk: number, of: number): boolean => streamOffset[chunk] === streamOffset[of];
    while (run.first > 0 && isSame(run.first - 1, run.first) && this.#chunks.isIdle(run.first - 1)) run.first--;
    const isAgain = run.first > 0 && isSame(run.first - 1, run.first) && isSame(run.last - 1, run.first);
    const end = isAgain ? Number.POSITIVE_INFINITY : streamEnd[run.last - 1]!;
    while (
      run.last < length &&
      isSame(run.last, run.last - 1) &&
      streamEnd[run.last]! <= end &&
      this.#chunks.isIdle(run.last)
    )
      run.last++;
  }

  /**
   * The maximum memory of a request while its answer arrives: buffers that hold the largest chunk, for new bytes and
   * for those that are being unpacked.
   */
  #memoryOf(runs: readonly ChunkRange[]): number {
    let largest = pooledBytes;
    for (const { first, last } of runs) {
      for (let chunk = first; chunk < last; chunk++) {
        const { start, end } = this.#options.bytesNeeded(this.#options.table, chunk);
        largest = Math.max(largest, end - start);
      }
    }
    return 2 * largest;
  }

  #fail({ first, last }: ChunkRange, cause: unknown): void {
    const error = new LazypullError('Unavailable', 'Cannot fetch a part of the layer', { cause });
    if (!this.#abort.signal.aborted) {
      let chunk = first;
      while (chunk < last - 1 && !this.#chunks.isAwaited(chunk)) chunk++;
      this.#options.onError(error, chunk, this.#chunks.isAwaited(chunk));
    }
    for (let chunk = first; chunk < last; chunk++) {
      this.#chunks.arrives(chunk);
      if (!this.#chunks.isComing(chunk)) this.#chunks.settle(chunk, error);
    }
  }
}

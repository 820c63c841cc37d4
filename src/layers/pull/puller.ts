import { rm } from 'node:fs/promises';
import { codeOf, LazypullError, messageOf } from '../../errors.ts';
import type { Fronts } from '../../fronts/index.ts';
import type { Log } from '../../log.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import { BufferPressure } from '../../util/buffer-pressure.ts';
import { RequestRoom } from '../fetch/request-room.ts';
import { BlobStream, segmentBytes } from './blob-stream.ts';
import { usualRatio } from './pull-bounds.ts';
import type { Pulled, PullTarget } from './pull-into.ts';
import { PullThread } from './pull-thread.ts';

/** The end of a blob is fetched first: it tells the size, and is all of a small layer. */
const tailBytes = 1280 << 10;

/** How many ends of blobs are fetched at a time. */
const tailsAtOnce = 32;

/** How long after a thread rests this one collects. The threads do first: all at once would make a pause longer. */
const collectAfterMs = 500;

export interface PullLimits {
  /** Layers that are made at a time, by two threads each: a processor cannot use more. */
  readonly threads: number;
  /**
   * The same for layers that come with one request. It takes longer to start two more threads, which run slowly at
   * first, than to make dozens of such layers.
   */
  readonly littleThreads: number;
  /** Heap of each thread, in MB. A tar whose entries take more ends the thread instead of the program. */
  readonly heapMb: number;
  /** Requests of one layer at a time, and memory for the answers of all layers together. */
  readonly connections: number;
  readonly requestBytes: number;
  /** Bytes that a thread writes before it makes the kernel bring them to the disk. */
  readonly unsyncedBytes: number;
}

export interface LayerPullerOptions {
  readonly limits: PullLimits;
  /** Makes room on the disk for a layer that is going to be pulled, or rejects with ResourceExhausted. */
  readonly makeRoom: (bytes: number) => Promise<void>;
  /** What shows the layers. Undefined for what is built in. */
  readonly fronts?: Fronts | undefined;
  readonly log: Log;
}

/** The layer to pull, and the paths of its files, none of which may exist. */
export interface PullRequest extends Omit<PullTarget, 'blobBytes' | 'unsyncedBytes'> {
  readonly blob: Blob;
  readonly signal: AbortSignal;
  /** Called as bytes of the blob arrive. */
  readonly onProgress: (bytes: number, total: number) => void;
}

export interface PulledLayer extends Pulled {
  readonly blobBytes: number;
  /** Whether parts of the blob can be had: if not, it came with one request. */
  readonly takesRanges: boolean;
}

/**
 * Pulls whole layers into the files of a complete layer, except its record and its residency. Several layers are
 * fetched at a time, and as many made as there are threads. Memory is bounded for all of them together.
 */
export class LayerPuller implements AsyncDisposable {
  readonly #options: LayerPullerOptions;
  readonly #tails: RequestRoom;
  readonly #room: RequestRoom;
  readonly #idle: PullThread[];
  readonly #waiting: Waiter[] = [];
  /** How many layers are made that came with one request. */
  #little = 0;
  #turns = 0;
  readonly #threads: readonly PullThread[];
  readonly #closing = new AbortController();
  readonly #pulls = new Set<Promise<unknown>>();
  readonly #pressure = new BufferPressure(true);
  #collecting: NodeJS.Timeout | undefined;

  constructor(options: LayerPullerOptions) {
    const { threads, heapMb, requestBytes } = options.limits;
    this.#options = options;
    this.#tails = new RequestRoom(tailsAtOnce);
    this.#room = new RequestRoom(requestBytes);
    const onRest = (): void => this.#collectSoon();
    this.#threads = Array.from({ length: threads }, () => new PullThread(heapMb, options.fronts?.modules, onRest));
    this.#idle = [...this.#threads];
  }

  /** How many layers it makes at a time. */
  get threads(): number {
    return this.#threads.length;
  }

  /**
   * Pulls a layer. If that fails, its files are removed.
   *
   * @throws DataLoss if the blob is damaged or another one on every server; Unimplemented and InvalidArgument for a tar
   * that only unpacking can show; ResourceExhausted if it is too large, or if there is no space; Canceled if `signal`
   * aborts; errors of the registry
   */
  async pull(request: PullRequest): Promise<PulledLayer> {
    const signal = AbortSignal.any([request.signal, this.#closing.signal]);
    const pulling = this.#pull({ ...request, signal });
    this.#pulls.add(pulling);
    try {
      return await pulling;
    } catch (error) {
      await removeFiles(request);
      signal.throwIfAborted();
      throw error;
    } finally {
      this.#pulls.delete(pulling);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#collecting);
    this.#closing.abort(new LazypullError('Canceled', 'The daemon stops'));
    await Promise.allSettled(this.#pulls);
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }

  /**
   * Collects what the threads have dropped: some MB of shared memory each, which stay for minutes if nothing else
   * happens. They mostly rest together.
   */
  #collectSoon(): void {
    this.#collecting ??= setTimeout(() => {
      this.#collecting = undefined;
      this.#pressure.rest();
    }, collectAfterMs).unref();
  }

  async #pull(request: PullRequest): Promise<PulledLayer> {
    const startedMs = performance.now();
    try {
      return await this.#pullOnce(request);
    } catch (error) {
      request.signal.throwIfAborted();
      if (codeOf(error) !== 'DataLoss' || !(await request.blob.distrust(startedMs))) throw error;
      this.#options.log.warn(
        { layer: request.digest, error: messageOf(error) },
        'received damaged data of a layer: asking another server',
      );
      await removeFiles(request);
      return this.#pullOnce(request);
    }
  }

  async #pullOnce(request: PullRequest): Promise<PulledLayer> {
    const { blob, signal, onProgress, digest } = request;
    const turn = this.#turns++;
    if (this.#idle.length === this.#threads.length) this.#idle.at(-1)?.start();
    const tail = await this.#tail(blob, signal);
    const blobBytes = tail.size;
    const { limits, makeRoom } = this.#options;
    await makeRoom(blobBytes * usualRatio);
    const end = blobBytes - tail.data.length;
    const most = Math.max(1, Math.min(limits.connections, Math.floor(limits.requestBytes / segmentBytes)));
    const { takesRanges } = tail;
    const connections = takesRanges ? most : 1;
    const leave = await this.#room.enter(Math.min(end, connections * segmentBytes), () => true, signal);
    try {
      signal.throwIfAborted();
      let come = tail.data.length;
      const onBytes = (bytes: number): void => onProgress((come += bytes), blobBytes);
      onBytes(0);
      await using stream = new BlobStream({ blob, end, connections, firstByteMs: tail.firstByteMs, signal, onBytes });
      const isLittle = end === 0;
      const thread = await this.#takeThread(turn, isLittle, signal);
      try {
        const { diskPath, tablePath, pathsPath, hintsPath, stackingPath, codecPath, indexPath } = request;
        const paths = { diskPath, tablePath, pathsPath, hintsPath, stackingPath, codecPath, indexPath };
        const target = { digest, blobBytes, unsyncedBytes: limits.unsyncedBytes, ...paths };
        const pulled = await thread.run(target, joined(stream, tail.data), signal);
        return { ...pulled, blobBytes, takesRanges };
      } finally {
        this.#giveThread(thread, isLittle);
      }
    } finally {
      leave();
    }
  }

  /** The end of a blob; nothing of it if its server does not give parts. */
  async #tail(blob: Blob, signal: AbortSignal): Promise<BlobTail> {
    const leave = await this.#tails.enter(1, () => true, signal);
    try {
      signal.throwIfAborted();
      const askedMs = performance.now();
      let firstByteMs: number | undefined;
      const onBytes = (): void => {
        firstByteMs ??= performance.now() - askedMs;
      };
      try {
        const { data, size } = await blob.tail(tailBytes, signal, onBytes);
        return { data, size, firstByteMs: firstByteMs ?? 0, takesRanges: true };
      } catch (error) {
        if (codeOf(error) !== 'FailedPrecondition') throw error;
        const { size, takesRanges } = await blob.describe(signal);
        if (takesRanges) throw error;
        return { data: Buffer.alloc(0), size, firstByteMs: undefined, takesRanges };
      }
    } finally {
      leave();
    }
  }

  /** A thread, once there is one that such a layer may have. */
  async #takeThread(turn: number, isLittle: boolean, signal: AbortSignal): Promise<PullThread> {
    const { promise, resolve, reject } = Promise.withResolvers<PullThread>();
    const waiter: Waiter = { turn, isLittle, resolve };
    this.#waiting.push(waiter);
    this.#waiting.sort((a, b) => a.turn - b.turn);
    this.#serveWaiting();
    const onAbort = (): void => {
      const at = this.#waiting.indexOf(waiter);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #giveThread(thread: PullThread, isLittle: boolean): void {
    if (isLittle) this.#little--;
    this.#idle.push(thread);
    this.#serveWaiting();
  }

  /**
   * Gives idle threads to those that wait, in the order in which they were asked for and not in that in which they
   * came: a client takes the layers of an image one after another, and goes on while the later ones are made. The
   * thread that worked last is the one that runs.
   */
  #serveWaiting(): void {
    while (this.#idle.length > 0) {
      const isFull = this.#little >= this.#options.limits.littleThreads;
      const at = this.#waiting.findIndex(({ isLittle }) => !isLittle || !isFull);
      if (at < 0) return;
      const [waiter] = this.#waiting.splice(at, 1);
      if (waiter!.isLittle) this.#little++;
      waiter!.resolve(this.#idle.pop()!);
    }
  }
}

/** A layer that waits for a thread. */
interface Waiter {
  readonly turn: number;
  readonly isLittle: boolean;
  readonly resolve: (thread: PullThread) => void;
}

interface BlobTail {
  readonly data: Buffer;
  readonly size: number;
  readonly firstByteMs: number | undefined;
  readonly takesRanges: boolean;
}

async function* joined(stream: AsyncIterable<Buffer>, tail: Buffer): AsyncGenerator<Buffer> {
  yield* stream;
  if (tail.length > 0) yield tail;
}

async function removeFiles(request: PullRequest): Promise<void> {
  const { diskPath, tablePath, pathsPath, hintsPath, stackingPath, codecPath, indexPath } = request;
  for (const path of [diskPath, tablePath, pathsPath, hintsPath, stackingPath, codecPath, indexPath]) {
    if (path !== undefined) await rm(path, { force: true });
  }
}

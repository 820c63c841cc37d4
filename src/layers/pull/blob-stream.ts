import type { Blob } from '../../registry/blob/blob.ts';

/** Bytes of one request. Longer requests wait less often for the first byte, shorter ones take less memory. */
export const segmentBytes = 4 << 20;

/** How much of a request's answer may wait, so that a long one takes no more memory than a segment. */
const maxWaitingBytes = segmentBytes;

/** If answers begin sooner than that, in milliseconds, parallel requests gain nothing: one stream fills the link. */
const nearMs = 4;

export interface BlobStreamOptions {
  readonly blob: Blob;
  /** Bytes [0, end) are fetched. */
  readonly end: number;
  /** Requests at one time. Each takes memory of `segmentBytes`. */
  readonly connections: number;
  /** The time to the first byte of an answer, if it is known. */
  readonly firstByteMs: number | undefined;
  readonly signal: AbortSignal;
  /** Called for bytes as they arrive. */
  readonly onBytes: (bytes: number) => void;
}

interface Segment {
  readonly pieces: Buffer[];
  bytes: number;
  isDone: boolean;
  error: unknown;
  /** Called when something was taken. */
  resume: (() => void) | undefined;
}

/**
 * The bytes of a blob in order, fetched by several requests at a time if that is faster. Fetching begins at once. Each
 * request holds at most one segment in memory.
 */
export class BlobStream implements AsyncDisposable {
  readonly #options: BlobStreamOptions;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #segments: Segment[] = [];
  readonly #fetching = new Set<Promise<void>>();
  #next = 0;
  #firstByteMs: number | undefined;
  #wake: (() => void) | undefined;

  constructor(options: BlobStreamOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal]);
    this.#firstByteMs = options.firstByteMs;
    this.#startMore();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    for (let segment = this.#segments[0]; segment !== undefined; segment = this.#segments[0]) {
      const data = segment.pieces.shift();
      if (data !== undefined) {
        segment.bytes -= data.length;
        segment.resume?.();
        yield data;
      } else if (segment.error !== undefined) throw segment.error;
      else if (segment.isDone) {
        this.#segments.shift();
        this.#startMore();
      } else if (this.#abort.signal.aborted) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Ends all requests. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    this.#wake?.();
    for (const { resume } of this.#segments) resume?.();
    await Promise.all(this.#fetching);
  }

  /** Starts as many requests as may be under way. Until an answer has begun there is only one. */
  #startMore(): void {
    const { end, connections } = this.#options;
    const isNear = this.#firstByteMs !== undefined && this.#firstByteMs < nearMs;
    const isOne = isNear || connections === 1;
    const most = this.#firstByteMs === undefined || isOne ? 1 : connections;
    while (this.#next < end && this.#segments.length < most) {
      const start = this.#next;
      this.#next = isOne ? end : Math.min(start + segmentBytes, end);
      this.#start(start, this.#next);
    }
  }

  #start(start: number, end: number): void {
    const segment: Segment = { pieces: [], bytes: 0, isDone: false, error: undefined, resume: undefined };
    this.#segments.push(segment);
    const fetching = this.#fetch(segment, start, end)
      .catch((error: unknown) => {
        segment.error = error;
      })
      .finally(() => {
        segment.isDone = true;
        this.#fetching.delete(fetching);
        this.#wake?.();
      });
    this.#fetching.add(fetching);
  }

  async #fetch(segment: Segment, start: number, end: number): Promise<void> {
    const askedMs = performance.now();
    for await (const data of this.#options.blob.range(start, end, this.#signal)) {
      if (this.#firstByteMs === undefined) {
        this.#firstByteMs = performance.now() - askedMs;
        this.#startMore();
      }
      segment.pieces.push(data);
      segment.bytes += data.length;
      this.#options.onBytes(data.length);
      this.#wake?.();
      while (segment.bytes >= maxWaitingBytes && !this.#signal.aborted) {
        await new Promise<void>((resolve) => (segment.resume = resolve));
      }
    }
  }
}

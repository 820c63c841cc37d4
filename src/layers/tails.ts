import { LazypullError } from '../errors.ts';
import type { Blob } from '../registry/blob.ts';
import { type LayerMetrics, layerMetrics } from './metrics.ts';

/** The end of a blob, the blob's size, and the blob itself for what more is needed of it. */
export interface Tail {
  readonly blob: Blob;
  readonly data: Buffer;
  readonly size: number;
}

/** How much of a blob's end is asked for: footer and table of contents of a layer of some hundred MB. */
const tailBytes = 1 << 20;

/** The same for layers that nobody has asked for yet, which wait in memory. */
const aheadBytes = 512 << 10;
const maxAhead = 48;

/** How long such a tail waits to be asked for. */
const aheadMs = 20_000;

/** How long the first request for a layer may take before its client is told to pull the layer itself. */
const timeoutMs = 10_000;

interface Ahead {
  readonly tail: Promise<Tail>;
  readonly timer: NodeJS.Timeout;
}

/**
 * The ends of blobs, which hold the tables of contents. A client prepares the layers of an image one after another; when it comes with
 * the first one, the ends of the others are fetched too, so that all of them cost one round trip together.
 */
export class Tails {
  readonly #openBlob: (reference: string, digest: string) => Blob;
  readonly #metrics: LayerMetrics;
  readonly #ahead = new Map<string, Ahead>();

  constructor(openBlob: (reference: string, digest: string) => Blob, metrics: LayerMetrics = layerMetrics()) {
    this.#openBlob = openBlob;
    this.#metrics = metrics;
  }

  /** Starts to fetch the ends of layers that will be asked for soon. */
  expect(reference: string, digests: readonly string[]): void {
    for (const digest of digests) {
      if (this.#ahead.size >= maxAhead) return;
      if (this.#ahead.has(digest)) continue;
      const tail = this.#fetch(reference, digest, aheadBytes);
      tail.catch(() => this.#forget(digest)); // who asks for the layer asks again
      const timer = setTimeout(() => this.#forget(digest), aheadMs);
      timer.unref();
      this.#ahead.set(digest, { tail, timer });
    }
  }

  /** The end of a blob. @throws DeadlineExceeded when the registry does not answer in time */
  async take(reference: string, digest: string): Promise<Tail> {
    const ahead = this.#ahead.get(digest);
    this.#forget(digest);
    try {
      if (ahead !== undefined) return await ahead.tail;
    } catch {
      // It was for another reference, perhaps: asked again below.
    }
    return this.#fetch(reference, digest, tailBytes);
  }

  close(): void {
    for (const digest of this.#ahead.keys()) this.#forget(digest);
  }

  async #fetch(reference: string, digest: string, bytes: number): Promise<Tail> {
    const blob = this.#openBlob(reference, digest);
    const timeout = AbortSignal.timeout(timeoutMs);
    this.#metrics.fetches.add(1, { reason: 'index' });
    try {
      const { data, size } = await blob.tail(bytes, timeout);
      this.#metrics.fetchedBytes.add(data.length, { reason: 'index' });
      return { blob, data, size };
    } catch (error) {
      this.#metrics.failures.add(1, { reason: 'index' });
      if (!timeout.aborted) throw error;
      throw new LazypullError(
        'DeadlineExceeded',
        `The registry of "${reference}" did not answer in ${timeoutMs / 1000} s`,
        {
          cause: error,
        },
      );
    }
  }

  #forget(digest: string): void {
    clearTimeout(this.#ahead.get(digest)?.timer);
    this.#ahead.delete(digest);
  }
}

import type { Digest } from '../../chunks/digest.ts';
import { type BlobEnd, indexTailBytes, type LayerFormat } from '../../formats/layer-format.ts';
import { codeOf, LazypullError } from '../../errors.ts';
import type { ImageAccess } from '../../images/image-access.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import { type LayerMetrics, layerMetrics } from '../metrics.ts';
import { ampleMemory } from '../memory-budget.ts';
import { maxMs, maxSilenceMs, Patience } from './patience.ts';

/** A blob whose end is wanted, and the assumed format of its layer. */
export interface WantedTail {
  readonly image: ImageAccess;
  readonly digest: Digest;
  readonly format: LayerFormat;
}

/** The end of a blob, the blob's size, and the blob itself, in case more of it is needed. */
export interface Tail extends BlobEnd {
  /** The image for which the blob was requested. */
  readonly image: ImageAccess;
  readonly blob: Blob;
}

/** How much of the end is fetched for layers that were not asked for yet: it waits in memory. */
const aheadBytes = 512 << 10;

/** How long such a tail waits to be asked for after it has arrived. */
const aheadMs = 20_000;

/** Is informed of the result of each request. */
export interface BlobTailsWatcher {
  answered(reference: string): void;
  failed(wanted: WantedTail, askedMs: number, error: unknown): void;
}

interface Ahead {
  readonly reference: string;
  readonly tail: Promise<Tail>;
  timer?: NodeJS.Timeout;
}

/**
 * The ends of blobs, which hold the tables of contents. A client prepares the layers of an image one after another.
 * When it asks for the first one, the ends of the others are fetched too, so that all of them cost one round trip
 * together.
 */
export class BlobTails {
  readonly #metrics: LayerMetrics;
  readonly #watcher: BlobTailsWatcher | undefined;
  readonly #maxAhead: number;
  readonly #ahead = new Map<string, Ahead>();

  /** @param maxAhead how many are kept for later */
  constructor(metrics: LayerMetrics = layerMetrics(), watcher?: BlobTailsWatcher, maxAhead = ampleMemory.tailsAhead) {
    this.#maxAhead = maxAhead;
    this.#metrics = metrics;
    this.#watcher = watcher;
  }

  /** Starts to fetch the ends of layers that will be asked for soon. */
  expect({ image, format }: Omit<WantedTail, 'digest'>, digests: readonly Digest[]): void {
    for (const digest of digests) {
      if (this.#ahead.size >= this.#maxAhead) return;
      if (this.#ahead.has(digest)) continue;
      const tail = this.#fetch({ image, digest, format }, aheadBytes);
      const ahead: Ahead = { reference: image.reference, tail };
      this.#ahead.set(digest, ahead);
      ahead.tail.then(
        () => {
          if (this.#ahead.get(digest) !== ahead) return; // it was taken
          ahead.timer = setTimeout(() => this.#forget(digest, ahead), aheadMs).unref();
        },
        () => this.#forget(digest, ahead), // the next call for the layer fetches it again
      );
    }
  }

  /** The end of a blob. @throws DeadlineExceeded if the registry does not answer in time */
  async take({ image, digest, format }: WantedTail): Promise<Tail> {
    const isSame = this.#ahead.get(digest)?.reference === image.reference;
    try {
      const tail = await this.takeAhead(digest);
      if (tail !== undefined) return tail;
    } catch (error) {
      // Perhaps it was for another reference: then it is requested again below. There is no second wait after a vain
      // one.
      if (isSame && codeOf(error) === 'DeadlineExceeded') throw error;
    }
    return this.#fetch({ image, digest, format }, indexTailBytes);
  }

  /**
   * The end of a blob that is being, or was, fetched ahead; it belongs to the caller then. Undefined for any other
   * blob.
   */
  takeAhead(digest: string): Promise<Tail> | undefined {
    const ahead = this.#ahead.get(digest);
    if (ahead !== undefined) this.#forget(digest, ahead);
    return ahead?.tail;
  }

  close(): void {
    for (const [digest, ahead] of this.#ahead) this.#forget(digest, ahead);
  }

  async #fetch(wanted: WantedTail, bytes: number): Promise<Tail> {
    const { image, digest } = wanted;
    const { reference } = image;
    const blob = image.blob(digest);
    const askedMs = performance.now();
    using patience = new Patience();
    this.#metrics.fetches.add(1, { reason: 'index' });
    try {
      const { data, size } = await blob.tail(bytes, patience.signal, () => patience.heard());
      this.#watcher?.answered(reference);
      this.#metrics.fetchedBytes.add(data.length, { reason: 'index' });
      return { image, blob, data, size };
    } catch (error) {
      this.#metrics.failures.add(1, { reason: 'index' });
      const text = `The registry of "${reference}" sent nothing for ${maxSilenceMs / 1000} s, or not enough in ${maxMs / 1000}`;
      const cause = patience.signal.aborted ? new LazypullError('DeadlineExceeded', text, { cause: error }) : error;
      this.#watcher?.failed(wanted, askedMs, cause);
      throw cause;
    }
  }

  #forget(digest: string, ahead: Ahead): void {
    clearTimeout(ahead.timer);
    if (this.#ahead.get(digest) === ahead) this.#ahead.delete(digest);
  }
}

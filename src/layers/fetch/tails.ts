import { LazypullError } from '../../errors.ts';
import type { Blob } from '../../registry/blob.ts';
import { type LayerMetrics, layerMetrics } from '../metrics.ts';
import { maxMs, maxSilenceMs, Patience } from './patience.ts';

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

/** How long such a tail, once it is here, waits to be asked for. */
const aheadMs = 20_000;

interface Ahead {
  readonly tail: Promise<Tail>;
  timer?: NodeJS.Timeout;
}

/**
 * The ends of blobs, which hold the tables of contents. A client prepares the layers of an image one after another; when it comes with
 * the first one, the ends of the others are fetched too, so that all of them cost one round trip together.
 */
export class Tails {
  readonly #openBlob: (reference: string, digest: string) => Blob;
  readonly #metrics: LayerMetrics;
  readonly #answered: (reference: string) => void;
  readonly #ahead = new Map<string, Ahead>();

  /** `answered` is told whenever bytes come for a reference. */
  constructor(
    openBlob: (reference: string, digest: string) => Blob,
    metrics: LayerMetrics = layerMetrics(),
    answered: (reference: string) => void = () => {},
  ) {
    this.#openBlob = openBlob;
    this.#metrics = metrics;
    this.#answered = answered;
  }

  /** Starts to fetch the ends of layers that will be asked for soon. */
  expect(reference: string, digests: readonly string[]): void {
    for (const digest of digests) {
      if (this.#ahead.size >= maxAhead) return;
      if (this.#ahead.has(digest)) continue;
      const ahead: Ahead = { tail: this.#fetch(reference, digest, aheadBytes) };
      this.#ahead.set(digest, ahead);
      ahead.tail.then(
        () => {
          if (this.#ahead.get(digest) !== ahead) return; // somebody has it
          ahead.timer = setTimeout(() => this.#forget(digest, ahead), aheadMs).unref();
        },
        () => this.#forget(digest, ahead), // who asks for the layer asks again
      );
    }
  }

  /** The end of a blob. @throws DeadlineExceeded when the registry does not answer in time */
  async take(reference: string, digest: string): Promise<Tail> {
    const ahead = this.takeAhead(digest);
    try {
      if (ahead !== undefined) return await ahead;
    } catch {
      // It was for another reference, perhaps: asked again below.
    }
    return this.#fetch(reference, digest, tailBytes);
  }

  /** The end of a blob that is being fetched ahead, or was: it is the caller's then. Undefined for any other. */
  takeAhead(digest: string): Promise<Tail> | undefined {
    const ahead = this.#ahead.get(digest);
    if (ahead !== undefined) this.#forget(digest, ahead);
    return ahead?.tail;
  }

  close(): void {
    for (const [digest, ahead] of this.#ahead) this.#forget(digest, ahead);
  }

  async #fetch(reference: string, digest: string, bytes: number): Promise<Tail> {
    const blob = this.#openBlob(reference, digest);
    using patience = new Patience();
    const onBytes = (): void => {
      this.#answered(reference);
      patience.heard();
    };
    this.#metrics.fetches.add(1, { reason: 'index' });
    try {
      const { data, size } = await blob.tail(bytes, patience.signal, onBytes);
      this.#metrics.fetchedBytes.add(data.length, { reason: 'index' });
      return { blob, data, size };
    } catch (error) {
      this.#metrics.failures.add(1, { reason: 'index' });
      if (!patience.signal.aborted) throw error;
      const text = `The registry of "${reference}" sent nothing for ${maxSilenceMs / 1000} s, or not enough in ${maxMs / 1000}`;
      throw new LazypullError('DeadlineExceeded', text, { cause: error });
    }
  }

  #forget(digest: string, ahead: Ahead): void {
    clearTimeout(ahead.timer);
    if (this.#ahead.get(digest) === ahead) this.#ahead.delete(digest);
  }
}

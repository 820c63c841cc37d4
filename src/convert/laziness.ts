import type { LayerId } from '../chunks/layer-id.ts';
import type { Blob } from '../registry/blob/blob.ts';

/** What is read of a blob to see whether it can be lazy. */
export type RangedBlob = Pick<Blob, 'tail' | 'range'>;

/** Why a layer of the image that was written cannot be lazy. */
export interface NotLazyLayer {
  /** Of the layer as it was written. */
  readonly digest: string;
  /** A word, a sentence, and what to do. */
  readonly reason: string;
  readonly message: string;
  readonly advice: string;
}

/** Says of layers whether they can be lazy, by the rules of the daemon. */
export interface LazinessCheck {
  /**
   * Reads the table of contents of a layer and remembers what there is to say of it. Rejects only if `signal` aborts.
   */
  read(blob: RangedBlob, layer: LayerId, signal: AbortSignal): Promise<void>;
  /** Notes of a layer that it has no table of contents, and why. */
  refuse(digest: string, message: string): void;
  /**
   * The layers of an image that cannot be lazy, also for what is in those below them. @param digests of its layers, the
   * lowest first
   */
  ofImage(digests: readonly string[]): Promise<NotLazyLayer[]>;
}

/** Finds nothing. */
export const noCheck: LazinessCheck = {
  read: () => Promise.resolve(),
  refuse: () => undefined,
  ofImage: () => Promise.resolve([]),
};

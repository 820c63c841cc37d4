import type { LayerId } from '../chunks/layer-id.ts';
import type { Blob } from '../registry/blob/blob.ts';

/** The part of a blob's interface that decides whether it can be lazy. */
export type RangedBlob = Pick<Blob, 'tail' | 'range'>;

/** Why a written layer cannot be lazy. */
export interface NotLazyLayer {
  /** The digest of the written layer. */
  readonly digest: string;
  /** A word, a sentence, and what to do. */
  readonly reason: string;
  readonly message: string;
  readonly advice: string;
}

/** Decides whether layers can be lazy, by the rules of the daemon. */
export interface LazinessCheck {
  /** Reads the table of contents of a layer and remembers the result. Rejects only if `signal` aborts. */
  read(blob: RangedBlob, layer: LayerId, signal: AbortSignal): Promise<void>;
  /** Notes that a layer has no table of contents, and why. */
  refuse(digest: string, message: string): void;
  /**
   * The layers of an image that cannot be lazy, considering the layers below them too. @param digests digests of its
   * layers, the lowest first
   */
  ofImage(digests: readonly string[]): Promise<NotLazyLayer[]>;
}

/** Finds no problem. */
export const noCheck: LazinessCheck = {
  read: () => Promise.resolve(),
  refuse: () => undefined,
  ofImage: () => Promise.resolve([]),
};

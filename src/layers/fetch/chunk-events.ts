import type { LazypullError } from '../../errors.ts';

/** What is told of the chunks of a layer while they are fetched, verified and kept. */
export interface ChunkEvents {
  /** A chunk could not be fetched, or a request failed that begins with it; `isAwaited` says whether a reader waits for the chunk. */
  readonly onError: (error: LazypullError, chunk: number, isAwaited: boolean) => void;
  /** These were on the disk and are not what they should be, or cannot be read. They are fetched when they are read again. There is one at least. */
  readonly onDamage: (chunks: readonly number[]) => void;
  /** The disk did not take a chunk. Whoever waits for it gets it from memory. */
  readonly onUnwritable: (error: LazypullError) => void;
  /** Chunks have become resident. */
  readonly onKept: () => void;
}

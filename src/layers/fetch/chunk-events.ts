import type { LazypullError } from '../../errors.ts';

/** Events of the chunks of a layer while they are fetched, verified and written. */
export interface ChunkEvents {
  /**
   * A chunk could not be fetched, or a request failed that begins with it; `isAwaited` says whether a reader waits for
   * the chunk.
   */
  readonly onError: (error: LazypullError, chunk: number, isAwaited: boolean) => void;
  /**
   * These chunks on the disk are wrong or cannot be read. They are fetched when they are read again. There is at least
   * one.
   */
  readonly onDamage: (chunks: readonly number[]) => void;
  /** The disk refused a chunk. Its readers get it from memory. */
  readonly onUnwritable: (error: LazypullError) => void;
  /** Chunks have become resident. */
  readonly onKept: () => void;
}

import type { ChunkTable } from '../../chunks/chunk-table.ts';
import type { ByteString } from '../../formats/layer-index.ts';

/** An EROFS image whose data area is still empty. */
export interface DiskPlan {
  /** The first bytes of the image: superblock, inodes, directories, xattrs. A whole number of 4096-byte blocks. */
  readonly metadata: Uint8Array;
  /** Length of the whole image in bytes, a multiple of 4096. */
  readonly diskBytes: number;
  readonly inodes: number;
  readonly chunks: ChunkTable;
  /**
   * For messages: the first chunk of each file that has data, ascending, and the file's path as its publisher wrote it.
   */
  readonly firstChunks: Uint32Array;
  readonly paths: readonly ByteString[];
}

import type { ChunkColumns } from './chunk-columns.ts';

/**
 * A string whose char codes are bytes, 0 to 255: file names and link targets as the kernel sees them, which need not be
 * UTF-8. It comes from `buffer.toString('latin1')`; compared with `<` it sorts as memcmp does. `Buffer.from(s,
 * 'latin1')` gives the bytes.
 */
export type ByteString = string;

export type EntryType = 'reg' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';

/**
 * One entry of a layer's tar, in tar order, as its publisher wrote it: paths are not cleaned, whiteouts are not
 * translated.
 */
export interface IndexEntry {
  path: ByteString;
  type: EntryType;
  /** Permission bits, set-id and sticky bits: 0 to 0o7777. */
  mode: number;
  /** 0 to 2^32 - 1, as `gid`. */
  uid: number;
  gid: number;
  /** Modification time: whole seconds since 1970, may be negative, rounded down; and nanoseconds, 0 to 999,999,999. */
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  /** Length of a regular file in bytes, otherwise 0. */
  size: number;
  /** Target of a symlink or hard link, otherwise ''. */
  linkTarget: ByteString;
  /** Numbers of a device: 0 to 4095, and 0 to 2^20 - 1; otherwise 0. */
  devMajor: number;
  devMinor: number;
  xattrs: ReadonlyMap<ByteString, Uint8Array> | undefined;
  /** A regular file's chunks in `LayerIndex.chunks`, in file order, without gaps; none if size is 0. */
  firstChunk: number;
  chunkCount: number;
  /** The offset of a regular file's data on the disk, in bytes, if it was written before the image was planned. */
  diskOffset?: number;
}

/** The defaults of an entry: an empty file of root. */
export const plainEntry: Readonly<IndexEntry> = {
  path: '',
  type: 'reg',
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  size: 0,
  linkTarget: '',
  devMajor: 0,
  devMinor: 0,
  xattrs: undefined,
  firstChunk: 0,
  chunkCount: 0,
};

/**
 * The result of every format: the entries of one layer. Its paths and links are hostile until `tree.ts` has bounded
 * them; its numbers are not.
 */
export interface LayerIndex {
  entries: IndexEntry[];
  chunks: ChunkColumns;
}

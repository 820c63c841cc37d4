/**
 * A string whose char codes are bytes, 0 to 255: file names and link targets as the kernel sees them, which need not be
 * UTF-8. Made by `buffer.latin1Slice()`; compared with `<` it sorts as memcmp does. `Buffer.from(s, 'latin1')` gives the bytes.
 */
export type ByteString = string;

export type EntryType = 'reg' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';

/**
 * A part of a regular file. It is what is fetched, verified and made readable as a whole.
 *
 * The chunk's bytes are bytes [innerOffset, innerOffset + size) of what the compressed stream at [streamOffset, streamEnd)
 * of the blob inflates to. `streamEnd` is an upper bound: bytes that belong to what follows may be inside.
 */
export interface Chunk {
  /** Where the chunk lies in its file, in bytes. */
  fileOffset: number;
  /** Uncompressed length in bytes, at least 1. */
  size: number;
  streamOffset: number;
  streamEnd: number;
  innerOffset: number;
  /** The 32 raw bytes of the sha256 digest of the uncompressed chunk. */
  digest: Uint8Array;
}

/** One entry of a layer's tar, in tar order, as its publisher wrote it: paths are not cleaned, whiteouts are not translated. */
export interface IndexEntry {
  path: ByteString;
  type: EntryType;
  /** Permission bits, set-id and sticky bits: 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  /** Modification time: whole seconds since 1970, may be negative, rounded down; and nanoseconds, 0 to 999,999,999. */
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  /** Length of a regular file in bytes, otherwise 0. */
  size: number;
  /** Target of a symlink or hard link, otherwise ''. */
  linkTarget: ByteString;
  devMajor: number;
  devMinor: number;
  xattrs: ReadonlyMap<ByteString, Uint8Array> | undefined;
  /** The chunks of a regular file, in file order, without gaps; empty where size is 0. */
  chunks: Chunk[];
}

/** What every format yields: the entries of one layer. Everything in it is hostile until `tree.ts` has bounded it. */
export interface LayerIndex {
  entries: IndexEntry[];
}

import { LazypullError } from '../../errors.ts';
import type { ByteString } from '../../formats/layer-index.ts';

/**
 * The chunks of a layer as columns, one row a chunk, sorted by `diskOffset`. The planner lays files out in the order in which their first
 * chunks lie in the blob, so that a run of rows is a run of blob bytes; rows are out of blob order only where a publisher scattered the chunks
 * of one file. Disk ranges never overlap. All arrays are of `length` rows, `digest` of 32 bytes a row. Backed by one SharedArrayBuffer so that
 * threads share it.
 */
export interface ChunkTable {
  readonly length: number;
  /** Byte offset of the chunk on the disk. A file's first chunk is on a 4096-byte boundary; later chunks follow without a gap. */
  readonly diskOffset: Float64Array;
  /** Uncompressed bytes. */
  readonly size: Float64Array;
  readonly streamOffset: Float64Array;
  readonly streamEnd: Float64Array;
  readonly innerOffset: Float64Array;
  readonly digest: Uint8Array;
}

/** An EROFS image whose data area is still empty. */
export interface DiskPlan {
  /** The first bytes of the image: superblock, inodes, directories, xattrs. A whole number of 4096-byte blocks. */
  readonly metadata: Uint8Array;
  /** Length of the whole image in bytes, a multiple of 4096. */
  readonly diskBytes: number;
  readonly inodes: number;
  readonly chunks: ChunkTable;
  /** For messages: the first row of each file that has data, ascending, and the file's path as its publisher wrote it. */
  readonly firstRows: Uint32Array;
  readonly paths: readonly ByteString[];
}

const bytesPerRow = 5 * 8 + 32;

/** A chunk table of `length` rows over `shared`, or over new memory of zeros. Throws `DataLoss` when `shared` is not of that size. */
export function chunkTable(shared: SharedArrayBuffer | undefined, length: number): ChunkTable {
  const buffer = shared ?? new SharedArrayBuffer(length * bytesPerRow);
  if (buffer.byteLength !== length * bytesPerRow) {
    throw new LazypullError('DataLoss', `A chunk table of ${length} rows cannot have ${buffer.byteLength} bytes`);
  }
  const column = (index: number): Float64Array => new Float64Array(buffer, index * 8 * length, length);
  return {
    length,
    diskOffset: column(0),
    size: column(1),
    streamOffset: column(2),
    streamEnd: column(3),
    innerOffset: column(4),
    digest: new Uint8Array(buffer, 5 * 8 * length, 32 * length),
  };
}

/**
 * The vocabulary of the whole data path. A chunk is the unit of verification: a number of bytes of a layer's image, and
 * where they come from in the blob. Pure: no files, no network, no format.
 *
 * Begin with `ChunkTable`. `residency.ts` says whether a chunk is here, `chunk-range.ts` names several, `layer-id.ts` a
 * layer.
 */

import { LazypullError } from '../errors.ts';

/**
 * The chunks of a layer as columns, one element a chunk, sorted by `diskOffset`. The planner lays files out in the
 * order in which their first chunks lie in the blob, so that a run of chunks is a run of blob bytes. Chunks are out of
 * blob order only if a publisher scattered the chunks of one file. Ranges in the image never overlap. All arrays have
 * `length` elements, `digest` 32 bytes for each. One SharedArrayBuffer backs them, so that threads share it.
 */
export interface ChunkTable {
  readonly length: number;
  /**
   * Byte offset of the chunk in the layer's image. A file's first chunk is on a 4096-byte boundary; later chunks follow
   * without a gap.
   */
  readonly diskOffset: Float64Array;
  /** Uncompressed bytes. */
  readonly size: Float64Array;
  readonly streamOffset: Float64Array;
  readonly streamEnd: Float64Array;
  readonly innerOffset: Float64Array;
  readonly digest: Uint8Array;
}

const bytesPerChunk = 5 * 8 + 32;

/**
 * A chunk table of `length` chunks over `shared`, or over new memory of zeros. Throws `DataLoss` if `shared` does not
 * have that size.
 */
export function chunkTable(shared: SharedArrayBuffer | undefined, length: number): ChunkTable {
  const buffer = shared ?? new SharedArrayBuffer(length * bytesPerChunk);
  if (buffer.byteLength !== length * bytesPerChunk) {
    throw new LazypullError('DataLoss', `A chunk table of ${length} chunks cannot have ${buffer.byteLength} bytes`);
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

import { upperBound } from '../util/search.ts';

export const digestBytes = 32;

/**
 * Chunks as growing columns, one element a chunk. A chunk is a part of a regular file: it is fetched, verified and made
 * readable as a whole.
 *
 * Its bytes are bytes [innerOffset, innerOffset + size) of the inflated stream at [streamOffset, streamEnd) of the
 * blob. `streamEnd` is an upper bound: bytes of what follows may be inside, and chunks of one stream may have different
 * ones. Columns may be longer than `length`.
 */
export class ChunkColumns {
  length = 0;
  /** Uncompressed bytes, at least 1. */
  size = new Float64Array(initialRows);
  streamOffset = new Float64Array(initialRows);
  streamEnd = new Float64Array(initialRows);
  innerOffset = new Float64Array(initialRows);
  /** Zeros that the file has between the chunk before, or its start, and this one, and that are in no chunk. */
  hole = new Float64Array(initialRows);
  /** The 32 raw bytes of each chunk's sha256 digest, of its uncompressed bytes. */
  digest = new Uint8Array(initialRows * digestBytes);

  /** Adds a chunk with a digest of zeros and an open stream. @returns its index */
  add(streamOffset: number, innerOffset: number, size: number): number {
    const row = this.length;
    if (row === this.size.length) this.#grow();
    this.size[row] = size;
    this.streamOffset[row] = streamOffset;
    this.innerOffset[row] = innerOffset;
    this.length++;
    return row;
  }

  /** Ends each stream where the next one in the blob starts, and the last one at `end`. */
  endStreams(end: number): void {
    const starts = this.streamOffset.slice(0, this.length);
    starts.sort();
    for (let row = 0; row < this.length; row++) {
      this.streamEnd[row] = starts[upperBound(starts, this.streamOffset[row]!)] ?? end;
    }
  }

  #grow(): void {
    const longer = (column: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => {
      const copy = new Float64Array(column.length * 2);
      copy.set(column);
      return copy;
    };
    this.size = longer(this.size);
    this.streamOffset = longer(this.streamOffset);
    this.streamEnd = longer(this.streamEnd);
    this.innerOffset = longer(this.innerOffset);
    this.hole = longer(this.hole);
    const digest = new Uint8Array(this.digest.length * 2);
    digest.set(this.digest);
    this.digest = digest;
  }
}

const initialRows = 1024;

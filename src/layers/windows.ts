import type { ChunkTable } from '../erofs/disk-plan.ts';
import { streamBytesNeeded } from './streams.ts';

/** Rows [first, last) of a chunk table. */
export interface RowRange {
  first: number;
  last: number;
}

/** How much of the blob the first miss fetches, in bytes. Round trips cost more than these bytes on any link that builds are run over. */
const initialWindowBytes = 1 << 20;
const maxWindowBytes = 32 << 20;

/** Small enough that a reader who needs a row at its end need not wait long, large enough that round trips do not count. */
const sweepWindowBytes = 8 << 20;

/** How much of the rest of a file, in blob bytes, comes along when one of its chunks is missed. */
const maxRestOfFileBytes = 4 << 20;

/** Blob bytes between two rows that are fetched along rather than skipped by a request of their own. */
const maxGapBytes = 256 << 10;

/**
 * Decides what to fetch along with a missing row. A window lies on a grid of its size, so that files which stand together in the
 * blob come together whichever of them is read first. It doubles each time that a miss falls just behind the window before it.
 */
export class Windows {
  readonly #table: ChunkTable;
  #bytes = initialWindowBytes;
  #lastEnd = -1;

  constructor(table: ChunkTable) {
    this.#table = table;
  }

  /**
   * The window for a miss.
   *
   * @param row the missing row
   * @param wanted whether a row should be fetched at all: false for what is resident or on its way
   */
  around(row: number, wanted: (row: number) => boolean): RowRange {
    const { streamOffset, streamEnd, length } = this.#table;
    const sequential = this.#lastEnd >= 0 && row >= this.#lastEnd && row - this.#lastEnd <= 64;
    this.#bytes = sequential ? Math.min(this.#bytes * 2, maxWindowBytes) : initialWindowBytes;

    const at = streamOffset[row]!;
    const fileEnd = this.#restOfFile(row);
    // A file as long as a window comes alone: what stands beside it is of no interest to who reads large files.
    const alone = !sequential && streamEnd[fileEnd - 1]! - at >= this.#bytes;
    const low = sequential || alone ? at : Math.floor(at / this.#bytes) * this.#bytes;
    const high = sequential ? at + this.#bytes : alone ? at : low + this.#bytes;
    let first = row;
    while (first > 0 && wanted(first - 1) && streamOffset[first - 1]! >= low && this.#joins(first - 1)) first--;
    let last = row + 1;
    while (last < length && wanted(last) && this.#joins(last - 1)) {
      if (streamOffset[last]! >= high && last >= fileEnd && streamOffset[last] !== streamOffset[last - 1]) break;
      last++;
    }
    this.#lastEnd = last;
    return { first, last };
  }

  /** The window from `row` on for who reads everything: without a row at or after `end`. */
  onwards(row: number, end: number, wanted: (row: number) => boolean): RowRange {
    const high = this.#table.streamOffset[row]! + sweepWindowBytes;
    let last = row + 1;
    while (last < end && wanted(last) && this.#joins(last - 1) && this.#table.streamOffset[last]! < high) last++;
    return { first: row, last };
  }

  /** Whether the row's blob bytes and those of the next row may be one request. */
  #joins(row: number): boolean {
    const gap = this.#table.streamOffset[row + 1]! - streamBytesNeeded(this.#table, row).end;
    return gap <= maxGapBytes && this.#table.streamOffset[row + 1]! >= this.#table.streamOffset[row]!;
  }

  /** The row after the last one that continues, without a gap on the disk, the file of `row`, and that is not too far away. */
  #restOfFile(row: number): number {
    const { diskOffset, size, streamOffset, length } = this.#table;
    const limit = streamOffset[row]! + maxRestOfFileBytes;
    let end = row + 1;
    while (end < length && diskOffset[end - 1]! + size[end - 1]! === diskOffset[end] && streamOffset[end]! < limit)
      end++;
    return end;
  }
}

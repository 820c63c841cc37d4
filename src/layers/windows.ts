import type { ChunkTable } from '../erofs/disk-plan.ts';
import { lowerBound } from '../util/search.ts';
import type { Link } from './link.ts';
import { streamBytesNeeded } from './streams.ts';

/** Rows [first, last) of a chunk table. */
export interface RowRange {
  first: number;
  last: number;
}

/** The smallest and the largest window of a single miss, in blob bytes; powers of two. */
const minWindowBytes = 512 << 10;
const maxWindowBytes = 1 << 20;

/** The largest window that misses close to each other grow to, in blob bytes: minWindowBytes times a power of two. */
const maxRegionBytes = 16 << 20;

/** A region is fetched as a whole when the window that is due makes more than this part of it fetched. */
const denseShare = 0.5;

/** Small enough that a reader who needs a row at its end need not wait long, large enough that round trips do not count. */
const sweepWindowBytes = 8 << 20;

/**
 * How much of the rest of a file, in blob bytes, comes along when one of its chunks is missed; it doubles, up to the second number, each
 * time that the next miss is where the last window ended.
 */
const minRestOfFileBytes = 4 << 20;
const maxRestOfFileBytes = 32 << 20;

/** Blob bytes between two rows that are fetched along rather than skipped by a request of their own. */
const maxGapBytes = 256 << 10;

/**
 * Decides what to fetch along with a missing row. Of a large file that is its rest. A window of small files lies on a grid, so that
 * files which stand together in the blob come together whichever of them is read first. Where misses come close to each other the
 * window grows: to the largest region of a grid twice as wide, and twice, and so on, of which more than half is fetched by then. A
 * reader who goes through the blob in order gets windows of doubling length; one who reads here and there gets small ones.
 */
export class Windows {
  readonly #table: ChunkTable;
  readonly #link: Link;
  #lastEnd = -1;
  #restBytes = minRestOfFileBytes;

  constructor(table: ChunkTable, link: Link) {
    this.#table = table;
    this.#link = link;
  }

  /**
   * The window for a miss.
   *
   * @param row the missing row
   * @param wanted whether a row should be fetched at all: false for what is resident or on its way
   * @returns the rows, and whether the misses before had a part in how many they are
   */
  around(row: number, wanted: (row: number) => boolean): { window: RowRange; grown: boolean } {
    const sequential = row === this.#lastEnd && this.#continuesFile(row);
    this.#restBytes = sequential ? Math.min(this.#restBytes * 2, maxRestOfFileBytes) : minRestOfFileBytes;
    const { streamOffset, streamEnd } = this.#table;
    const at = streamOffset[row]!;
    const fileEnd = this.#restOfFile(row);
    const base = windowBytes(this.#link.bytesPerRoundTrip);
    // What stands beside a file as long as a window is of no interest to who reads large files.
    const alone = streamEnd[fileEnd - 1]! - at >= base;
    const region = alone ? undefined : this.#denseRegion(at, base, wanted);
    const low = alone ? at : Math.floor(at / (region ?? base)) * (region ?? base);
    const window = this.#extend(row, low, alone ? at : low + (region ?? base), fileEnd, wanted);
    this.#lastEnd = window.last;
    return { window, grown: sequential || region !== undefined };
  }

  /** The window from `row` on for who reads everything: without a row at or after `end`. */
  onwards(row: number, end: number, wanted: (row: number) => boolean): RowRange {
    const high = this.#table.streamOffset[row]! + sweepWindowBytes;
    let last = row + 1;
    while (last < end && wanted(last) && this.#joins(last - 1) && this.#table.streamOffset[last]! < high) last++;
    return { first: row, last };
  }

  /** The wanted rows around `row` whose streams begin in [low, high), and the rest of its file, as far as they can be one request. */
  #extend(row: number, low: number, high: number, fileEnd: number, wanted: (row: number) => boolean): RowRange {
    const { streamOffset, length } = this.#table;
    let first = row;
    while (first > 0 && wanted(first - 1) && streamOffset[first - 1]! >= low && this.#joins(first - 1)) first--;
    let last = row + 1;
    while (last < length && wanted(last) && this.#joins(last - 1)) {
      if (streamOffset[last]! >= high && last >= fileEnd && streamOffset[last] !== streamOffset[last - 1]) break;
      last++;
    }
    return { first, last };
  }

  /** The size of the widest grid whose region around a blob offset is dense with a window of `base` bytes; undefined where none is. */
  #denseRegion(at: number, base: number, wanted: (row: number) => boolean): number | undefined {
    const { streamOffset, streamEnd, length } = this.#table;
    const blobEnd = length === 0 ? 0 : streamEnd[length - 1]!;
    let dense: number | undefined;
    for (let size = base * 2; size <= maxRegionBytes; size *= 2) {
      const start = Math.floor(at / size) * size;
      const end = Math.min(start + size, blobEnd);
      let fetched = base;
      const last = lowerBound(streamOffset, end);
      for (let row = lowerBound(streamOffset, start); row < last; row++) {
        if (!wanted(row)) fetched += streamEnd[row]! - streamOffset[row]!;
      }
      if (fetched > (end - start) * denseShare && fetched > base) dense = size;
    }
    return dense;
  }

  /** Whether the row's blob bytes and those of the next row may be one request. */
  #joins(row: number): boolean {
    const gap = this.#table.streamOffset[row + 1]! - streamBytesNeeded(this.#table, row).end;
    return gap <= maxGapBytes && this.#table.streamOffset[row + 1]! >= this.#table.streamOffset[row]!;
  }

  /** The row after the last one that continues the file of `row` and is not too far away. */
  #restOfFile(row: number): number {
    const limit = this.#table.streamOffset[row]! + this.#restBytes;
    let end = row + 1;
    while (end < this.#table.length && this.#continuesFile(end) && this.#table.streamOffset[end]! < limit) end++;
    return end;
  }

  /** Whether a row follows the one before without a gap on the disk. (Files start on blocks, so a file of whole blocks seems to go on.) */
  #continuesFile(row: number): boolean {
    const { diskOffset, size } = this.#table;
    return row > 0 && diskOffset[row - 1]! + size[row - 1]! === diskOffset[row];
  }
}

/** The power of two that is next to `wished` in the bounds of a single miss. */
function windowBytes(wished: number): number {
  const power = 2 ** Math.round(Math.log2(Math.max(wished, 1)));
  return Math.min(Math.max(power, minWindowBytes), maxWindowBytes);
}

import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { lowerBound } from '../../util/search.ts';
import type { Link } from './link.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';
import type { BytesNeeded } from '../../formats/layer-format.ts';

/** The smallest and the largest window of a single miss, in blob bytes; powers of two. */
const minWindowBytes = 128 << 10;
const maxWindowBytes = 1 << 20;

/** The part of what comes in a round trip that a window in vain may cost: of what comes along with a miss, builds read about a third. */
const windowShare = 1 / 5;

/** The largest window that misses close to each other grow to, in blob bytes: minWindowBytes times a power of two. */
const maxRegionBytes = 16 << 20;

/** A miss so few chunks behind a window is where its reader went on. */
const maxChunksBehind = 8;

/** A region is fetched as a whole when the window that is due makes more than this part of it fetched. */
const denseShare = 0.5;

/** And when at least this part of what was fetched of it has been read, or it comes in a round trip: who reads one file in ten is not sent all of them where that takes longer. */
const usedShare = 1 / 4;

/** Small enough that a reader who needs a chunk at its end need not wait long, large enough that round trips do not count. */
const sweepWindowBytes = 8 << 20;

/**
 * How much of the rest of a file, in blob bytes, comes along when one of its chunks is missed; it doubles, up to the second number, each
 * time that the next miss is where the last window ended.
 */
const minRestOfFileBytes = 4 << 20;
const maxRestOfFileBytes = 32 << 20;

/** Ranges of one request: what registries take without complaint. */
const maxRuns = 32;

/** Blob bytes between two chunks that are fetched along rather than skipped by a request of their own. */
const maxGapBytes = 256 << 10;

/**
 * Decides what to fetch along with a missing chunk. Of a large file that is its rest. A window of small files lies on a grid, so that
 * files which stand together in the blob come together whichever of them is read first. Where misses come close to each other the
 * window grows: to the largest region of a grid twice as wide, and twice, and so on, of which more than half is fetched by then, where some of that was read or
 * the link makes little of it. A
 * reader who goes through the blob in order gets windows of doubling length up to the widest, and from then on always the widest; one who
 * reads here and there gets small ones.
 */
export class Windows {
  readonly #table: ChunkTable;
  readonly #bytesNeeded: BytesNeeded;
  readonly #link: Link;
  readonly #read: Uint8Array;
  #lastEnd = -1;
  #lastWidest = false;
  #restBytes = minRestOfFileBytes;

  /** @param read 1 for each chunk of which something has been asked for, as it is at any time */
  constructor(table: ChunkTable, bytesNeeded: BytesNeeded, link: Link, read: Uint8Array) {
    this.#table = table;
    this.#bytesNeeded = bytesNeeded;
    this.#link = link;
    this.#read = read;
  }

  /**
   * The window for a miss: what one request fetches.
   *
   * @param chunk the missing chunk
   * @param wanted whether a chunk should be fetched at all: false for what is resident or on its way
   * @returns runs of wanted chunks, ascending in the blob and apart from each other, one of them with the missing chunk; and whether the
   *   misses before had a part in how much it is
   */
  around(chunk: number, wanted: (chunk: number) => boolean): { runs: ChunkRange[]; grown: boolean } {
    const sequential = chunk === this.#lastEnd && this.#continuesFile(chunk);
    this.#restBytes = sequential ? Math.min(this.#restBytes * 2, maxRestOfFileBytes) : minRestOfFileBytes;
    const { streamOffset, streamEnd, length } = this.#table;
    const at = streamOffset[chunk]!;
    const fileEnd = this.#restOfFile(chunk);
    const base = windowBytes(this.#link.bytesPerRoundTrip * windowShare);
    // What stands beside a file as long as a window is of no interest to who reads large files.
    const alone = streamEnd[fileEnd - 1]! - at >= base;
    const region = alone ? undefined : this.#denseRegion(at, base, wanted);
    const grid = region ?? base;
    const goesOn = this.#lastWidest && chunk >= this.#lastEnd && chunk - this.#lastEnd < maxChunksBehind;
    const low = alone || goesOn ? at : Math.floor(at / grid) * grid;
    const high = goesOn ? at + maxRegionBytes : alone ? at : low + grid;
    this.#lastWidest = goesOn || region === maxRegionBytes;

    let first = chunk;
    while (first > 0 && streamOffset[first - 1]! >= low && streamOffset[first - 1]! <= at) first--;
    let last = fileEnd;
    while (last < length && streamOffset[last]! >= at && streamOffset[last]! < high) last++;
    this.#lastEnd = last;
    const runs = this.#runs(first, last, wanted, Number.POSITIVE_INFINITY);
    const found = runs.some((run) => chunk >= run.first && chunk < run.last);
    return {
      runs: found ? runs : [{ first: chunk, last: chunk + 1 }],
      grown: sequential || goesOn || region !== undefined,
    };
  }

  /** The window from `chunk` on, of chunks before `end`, for who reads everything. Empty when no chunk is wanted. */
  onwards(chunk: number, end: number, wanted: (chunk: number) => boolean): ChunkRange[] {
    return this.#runs(chunk, end, wanted, sweepWindowBytes);
  }

  /** The wanted chunks of [first, last) as runs that one request can fetch: ascending in the blob, as many as a request should have, up to `maxBytes`. */
  #runs(first: number, last: number, wanted: (chunk: number) => boolean, maxBytes: number): ChunkRange[] {
    const runs: ChunkRange[] = [];
    let bytes = 0;
    let blobEnd = 0;
    for (let chunk = first; chunk < last && bytes < maxBytes; chunk++) {
      if (!wanted(chunk)) continue;
      const { start, end } = this.#bytesNeeded(this.#table, chunk);
      const run = runs.at(-1);
      if (
        run !== undefined &&
        run.last === chunk &&
        start >= this.#table.streamOffset[chunk - 1]! &&
        start - blobEnd <= maxGapBytes
      )
        run.last++;
      else if (start < blobEnd) continue;
      else if (runs.length === maxRuns) break;
      else runs.push({ first: chunk, last: chunk + 1 });
      bytes += Math.max(0, end - Math.max(start, blobEnd));
      blobEnd = Math.max(blobEnd, end);
    }
    return runs;
  }

  /**
   * The size of the widest grid whose region around a blob offset is dense with a window of `base` bytes, by bytes and by chunks, so that
   * a single large file does not make it so; undefined where none is.
   */
  #denseRegion(at: number, base: number, wanted: (chunk: number) => boolean): number | undefined {
    const { streamOffset, streamEnd, length } = this.#table;
    const blobEnd = length === 0 ? 0 : streamEnd[length - 1]!;
    const windowStart = Math.floor(at / base) * base;
    let dense: number | undefined;
    for (let size = base * 2; size <= maxRegionBytes; size *= 2) {
      const start = Math.floor(at / size) * size;
      const end = Math.min(start + size, blobEnd);
      const first = lowerBound(streamOffset, start);
      const last = lowerBound(streamOffset, end);
      let [bytes, chunks, bytesBefore, chunksBefore, bytesRead, chunksRead] = [0, 0, 0, 0, 0, 0];
      for (let chunk = first; chunk < last; chunk++) {
        const inWindow = streamOffset[chunk]! >= windowStart && streamOffset[chunk]! < windowStart + base;
        if (wanted(chunk) && !inWindow) continue;
        const chunkBytes = streamEnd[chunk]! - streamOffset[chunk]!;
        bytes += chunkBytes;
        chunks++;
        if (inWindow) continue;
        bytesBefore += chunkBytes;
        chunksBefore++;
        if (this.#read[chunk] === 0) continue;
        bytesRead += chunkBytes;
        chunksRead++;
      }
      const isDense = bytes > (end - start) * denseShare && chunks > (last - first) * denseShare;
      const isUsed = bytesRead >= bytesBefore * usedShare && chunksRead >= chunksBefore * usedShare;
      if (chunksBefore > 0 && isDense && (isUsed || size <= this.#link.bytesPerRoundTrip)) dense = size;
    }
    return dense;
  }

  /** The chunk after the last one that continues the file of `chunk` and is not too far away. */
  #restOfFile(chunk: number): number {
    const limit = this.#table.streamOffset[chunk]! + this.#restBytes;
    let end = chunk + 1;
    while (end < this.#table.length && this.#continuesFile(end) && this.#table.streamOffset[end]! < limit) end++;
    return end;
  }

  /** Whether a chunk follows the one before without a gap on the disk. (Files start on blocks, so a file of whole blocks seems to go on.) */
  #continuesFile(chunk: number): boolean {
    const { diskOffset, size } = this.#table;
    return chunk > 0 && diskOffset[chunk - 1]! + size[chunk - 1]! === diskOffset[chunk];
  }
}

/** The power of two that is next to `wished` in the bounds of a single miss. */
function windowBytes(wished: number): number {
  const power = 2 ** Math.round(Math.log2(Math.max(wished, 1)));
  return Math.min(Math.max(power, minWindowBytes), maxWindowBytes);
}

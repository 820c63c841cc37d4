import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { lowerBound } from '../../util/search.ts';
import type { Link } from './link.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';
import type { BytesNeeded } from '../../formats/layer-format.ts';

/** The smallest and the largest window of a single miss, in blob bytes; powers of two. */
const minWindowBytes = 128 << 10;
const maxWindowBytes = 1 << 20;

/**
 * The share of a round trip's bytes that a useless window may cost: builds read about a third of what comes along with
 * a miss.
 */
const windowShare = 1 / 5;

/** The largest window for misses close to each other, in blob bytes: minWindowBytes times a power of two. */
const maxRegionBytes = 16 << 20;

/** If a miss is so few chunks behind a window, its reader went on there. */
const maxChunksBehind = 8;

/** A region is fetched as a whole if the present window makes more than this part of it fetched. */
const denseShare = 0.5;

/**
 * In addition, at least this part of the fetched bytes must have been read, or the region must come in a round trip. A
 * reader of one file in ten does not get all of them if that takes longer.
 */
const usedShare = 1 / 4;

/**
 * Small enough that the reader of a chunk at its end need not wait long, large enough that round trips do not matter.
 */
const sweepWindowBytes = 8 << 20;

/**
 * How many blob bytes of the rest of a file come along with a missing chunk. It doubles, up to the second number, each
 * time that the next miss is where the last window ended.
 */
const minRestOfFileBytes = 4 << 20;
const maxRestOfFileBytes = 32 << 20;

/** Ranges of one request: registries accept so many. */
const maxRuns = 32;

/** Up to so many blob bytes between two chunks are fetched along, in place of a request of their own. */
const maxGapBytes = 256 << 10;

/**
 * Decides what to fetch along with a missing chunk. Of a large file that is its rest. A window of small files lies on a
 * grid, so that files which are close together in the blob come together, whichever of them is read first. If misses
 * are close to each other, the window grows: to the largest region of a grid twice as wide, and twice again, and so on,
 * of which more than half is fetched by then, if some of that was read or the link makes it cheap. A reader that goes
 * through the blob in order gets windows of doubling length up to the widest, and from then on always the widest; a
 * reader of scattered files gets small ones.
 */
export class Windows {
  readonly #table: ChunkTable;
  readonly #bytesNeeded: BytesNeeded;
  readonly #link: Link;
  readonly #read: Uint8Array;
  /** Where in the blob each chunk begins, as far as that is known: ascending. */
  readonly #places: Float64Array;
  #lastEnd = -1;
  #lastWidest = false;
  #restBytes = minRestOfFileBytes;

  /** @param read not 0 for each chunk of which something has been read, always up to date */
  constructor(table: ChunkTable, bytesNeeded: BytesNeeded, link: Link, read: Uint8Array) {
    this.#table = table;
    this.#bytesNeeded = bytesNeeded;
    this.#link = link;
    this.#read = read;
    this.#places = placesOf(table);
  }

  /**
   * The window for a miss: what one request fetches.
   *
   * @param chunk the missing chunk
   * @param wanted whether a chunk should be fetched at all: false if it is resident or being fetched
   * @returns runs of wanted chunks, ascending in the blob and not adjacent, one of them with the missing chunk; and
   * whether earlier misses enlarged it
   */
  around(chunk: number, wanted: (chunk: number) => boolean): { runs: ChunkRange[]; grown: boolean } {
    const sequential = chunk === this.#lastEnd && this.#continuesFile(chunk);
    this.#restBytes = sequential ? Math.min(this.#restBytes * 2, maxRestOfFileBytes) : minRestOfFileBytes;
    const { streamEnd, length } = this.#table;
    const places = this.#places;
    const at = places[chunk]!;
    const fileEnd = this.#restOfFile(chunk);
    const base = windowBytes(this.#link.bytesPerRoundTrip * windowShare);
    // A reader of large files does not need the neighbours of a file that is as long as a window.
    const alone = streamEnd[fileEnd - 1]! - at >= base;
    const region = alone ? undefined : this.#denseRegion(at, base, wanted);
    const grid = region ?? base;
    const goesOn = this.#lastWidest && chunk >= this.#lastEnd && chunk - this.#lastEnd < maxChunksBehind;
    const low = alone || goesOn ? at : Math.floor(at / grid) * grid;
    const high = goesOn ? at + maxRegionBytes : alone ? at : low + grid;
    this.#lastWidest = goesOn || region === maxRegionBytes;

    let first = chunk;
    while (first > 0 && places[first - 1]! >= low && places[first - 1]! <= at) first--;
    let last = fileEnd;
    while (last < length && places[last]! >= at && places[last]! < high) last++;
    this.#lastEnd = last;
    const runs = this.#runs(first, last, wanted, Number.POSITIVE_INFINITY);
    const found = runs.some((run) => chunk >= run.first && chunk < run.last);
    return {
      runs: found ? runs : [{ first: chunk, last: chunk + 1 }],
      grown: sequential || goesOn || region !== undefined,
    };
  }

  /** The window from `chunk` on, before `end`, for a reader of everything. Empty if no chunk is wanted. */
  onwards(chunk: number, end: number, wanted: (chunk: number) => boolean): ChunkRange[] {
    return this.#runs(chunk, end, wanted, sweepWindowBytes);
  }

  /**
   * The wanted chunks of [first, last) as runs for one request: ascending in the blob, as many as a request should
   * have, up to `maxBytes`.
   */
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
   * The size of the widest grid whose region around a blob offset is dense with a window of `base` bytes; undefined if
   * there is none. It is dense by bytes and by chunks, so that a single large file does not make it so.
   */
  #denseRegion(at: number, base: number, wanted: (chunk: number) => boolean): number | undefined {
    const { streamEnd, length } = this.#table;
    const places = this.#places;
    const blobEnd = length === 0 ? 0 : streamEnd[length - 1]!;
    const windowStart = Math.floor(at / base) * base;
    let dense: number | undefined;
    for (let size = base * 2; size <= maxRegionBytes; size *= 2) {
      const start = Math.floor(at / size) * size;
      const end = Math.min(start + size, blobEnd);
      const first = lowerBound(places, start);
      const last = lowerBound(places, end);
      let [bytes, chunks, bytesBefore, chunksBefore, bytesRead, chunksRead] = [0, 0, 0, 0, 0, 0];
      for (let chunk = first; chunk < last; chunk++) {
        const inWindow = places[chunk]! >= windowStart && places[chunk]! < windowStart + base;
        if (wanted(chunk) && !inWindow) continue;
        const chunkBytes = streamEnd[chunk]! - places[chunk]!;
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
    const limit = this.#places[chunk]! + this.#restBytes;
    let end = chunk + 1;
    while (end < this.#table.length && this.#continuesFile(end) && this.#places[end]! < limit) end++;
    return end;
  }

  /**
   * Whether a chunk follows the one before without a gap in the image. (Files start on blocks, so a file of whole
   * blocks seems to go on.)
   */
  #continuesFile(chunk: number): boolean {
    const { diskOffset, size } = this.#table;
    return chunk > 0 && diskOffset[chunk - 1]! + size[chunk - 1]! === diskOffset[chunk];
  }
}

/**
 * Chunks begin where their streams do, or where the one before in their stream ends if that is before they end
 * themselves.
 */
function placesOf({ length, streamOffset, streamEnd }: ChunkTable): Float64Array {
  let places = streamOffset;
  for (let chunk = 1; chunk < length; chunk++) {
    if (streamOffset[chunk] !== streamOffset[chunk - 1]) continue;
    const place = streamEnd[chunk - 1]! < streamEnd[chunk]! ? streamEnd[chunk - 1]! : places[chunk - 1]!;
    if (place === places[chunk]) continue;
    if (places === streamOffset) places = Float64Array.from(streamOffset);
    places[chunk] = place;
  }
  return places;
}

/** The power of two that is next to `wished` in the bounds of a single miss. */
function windowBytes(wished: number): number {
  const power = 2 ** Math.round(Math.log2(Math.max(wished, 1)));
  return Math.min(Math.max(power, minWindowBytes), maxWindowBytes);
}

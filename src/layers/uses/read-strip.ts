import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { readTimeCode, readTimeMs } from '../../chunks/read-time.ts';
import { countBytes, residency } from '../../chunks/residency.ts';

/** In how many cells of equal size the content of a layer is shown, in the order of the blob. */
export const stripCells = 96;

/**
 * A picture of a layer in `3 * stripCells` bytes: for each cell, how much of it was read, in percent; how much is on
 * the disk, in percent; and the `readTimeCode` of the first read in it. What is not 0 % is at least 1 %.
 */
export type ReadStrip = Uint8Array;

export const stripBytes = 3 * stripCells;

/** A cell of a strip. */
export interface StripCell {
  /** In percent. */
  readonly read: number;
  readonly present: number;
  /** Milliseconds from the start of the use to the first read; undefined if there was none. */
  readonly readMs: number | undefined;
}

/** What of a layer is here, and what of it was read. All are bytes of its files. */
export interface ContentActivity {
  readonly contentBytes: number;
  readonly presentBytes: number;
  /** The size of the parts of which something was read. */
  readonly readBytes: number;
  /** Undefined if nothing was read. */
  readonly strip: ReadStrip | undefined;
}

/** The same of a layer's arrays, which have an element for each chunk. Others write the last two meanwhile. */
export function contentActivity(
  table: Pick<ChunkTable, 'length' | 'size'>,
  read: Uint8Array,
  resident: Uint8Array,
): ContentActivity {
  const isRead = read.some((code) => code !== 0);
  const content = isRead ? stripOf(table, read, resident) : { strip: undefined, readBytes: 0 };
  return { ...countBytes(table.size, resident), ...content };
}

/** The strip of a layer, and the bytes of the chunks of which something was read. */
export function stripOf(
  { length, size }: Pick<ChunkTable, 'length' | 'size'>,
  read: Uint8Array,
  resident: Uint8Array,
): { strip: ReadStrip; readBytes: number } {
  let total = 0;
  for (let chunk = 0; chunk < length; chunk++) total += size[chunk]!;
  const strip = new Uint8Array(stripBytes);
  const cellBytes = total / stripCells;
  const readIn = new Float64Array(stripCells);
  const presentIn = new Float64Array(stripCells);
  let start = 0;
  let readBytes = 0;
  for (let chunk = 0; chunk < length; chunk++) {
    const end = start + size[chunk]!;
    const code = read[chunk]!;
    const isPresent = resident[chunk] !== residency.absent;
    if (code > 0) readBytes += end - start;
    for (let cell = Math.floor(start / cellBytes); cell < stripCells && cell * cellBytes < end; cell++) {
      const part = Math.min(end, (cell + 1) * cellBytes) - Math.max(start, cell * cellBytes);
      if (part <= 0) continue;
      if (isPresent) presentIn[cell]! += part;
      if (code === 0) continue;
      readIn[cell]! += part;
      const at = 2 * stripCells + cell;
      if (strip[at] === 0 || code < strip[at]!) strip[at] = code;
    }
    start = end;
  }
  for (let cell = 0; cell < stripCells; cell++) {
    strip[cell] = percent(readIn[cell]!, cellBytes);
    strip[stripCells + cell] = percent(presentIn[cell]!, cellBytes);
  }
  return { strip, readBytes };
}

/** The cells of a strip. */
export function cellsOf(strip: ReadStrip): StripCell[] {
  return Array.from({ length: stripCells }, (_, cell) => {
    const code = strip[2 * stripCells + cell] ?? 0;
    return {
      read: strip[cell] ?? 0,
      present: strip[stripCells + cell] ?? 0,
      readMs: code === 0 ? undefined : readTimeMs(code),
    };
  });
}

/**
 * The strip of a use that was interrupted: what was read before, and what was read after.
 *
 * @param laterMs how much later `after` begins to count than `before`
 */
export function joinStrips(before: ReadStrip, after: ReadStrip, laterMs: number): ReadStrip {
  const joined = new Uint8Array(stripBytes);
  for (let cell = 0; cell < stripCells; cell++) {
    joined[cell] = Math.max(before[cell]!, after[cell]!);
    joined[stripCells + cell] = after[stripCells + cell]!;
    const at = 2 * stripCells + cell;
    joined[at] = before[at]! || (after[at] === 0 ? 0 : readTimeCode(readTimeMs(after[at]!) + laterMs));
  }
  return joined;
}

function percent(bytes: number, cellBytes: number): number {
  return cellBytes === 0 ? 0 : Math.min(100, Math.ceil((100 * bytes) / cellBytes - 1e-6));
}

import type { ChunkRange } from '../chunks/chunk-range.ts';
import { readTimeCode } from '../chunks/read-time.ts';
import { residency } from '../chunks/residency.ts';
import { lowerBound, upperBound } from '../util/search.ts';

/** A file that is served from a sparse local file of the same length. All arrays are backed by SharedArrayBuffers. */
export interface FlatFile {
  /** A safe integer above 1. A file has the same one in every life of the program. */
  readonly nodeId: number;
  readonly name: string;
  readonly bytes: number;
  /** Path of the local file. */
  readonly path: string;
  /**
   * The ranges that may be missing: their starts, ascending, their lengths, and their `residency` in the local file.
   * Bytes outside of all ranges are always there.
   */
  readonly rangeOffset: Float64Array;
  readonly rangeBytes: Float64Array;
  readonly resident: Uint8Array;
  /** Set for a range once something in it has been read: the `readTimeCode` of the first read, counted from here on. */
  readonly read: Uint8Array;
  /** In milliseconds since 1970. */
  readonly readFromMs: number;
}

/**
 * A file that was not read for a while, or never. Only its bytes before `dataOffset` are known to be in the local file.
 */
export interface RestingFile extends Pick<FlatFile, 'nodeId' | 'name' | 'bytes' | 'path'> {
  readonly dataOffset: number;
}

/** The ranges [first, last) of the file that overlap bytes [offset, offset + size). */
export function rangesIn(file: Pick<FlatFile, 'rangeOffset' | 'rangeBytes'>, offset: number, size: number): ChunkRange {
  const last = lowerBound(file.rangeOffset, offset + size);
  let first = upperBound(file.rangeOffset, offset) - 1;
  if (first < 0 || file.rangeOffset[first]! + file.rangeBytes[first]! <= offset) first++;
  return { first: Math.min(first, last), last };
}

/** Notes that bytes [offset, offset + size) are read. @returns whether all of them are in the local file */
export function noteRead(file: FlatFile, offset: number, size: number): boolean {
  const { first, last } = rangesIn(file, offset, size);
  let code = 0;
  for (let range = first; range < last; range++) {
    if (file.read[range] === 0) file.read[range] = code ||= readTimeCode(Date.now() - file.readFromMs);
  }
  for (let range = first; range < last; range++) {
    if (Atomics.load(file.resident, range) !== residency.verified) return false;
  }
  return true;
}

/** Notes that the local file may have lost what was written to it. */
export function noteLost(file: Pick<FlatFile, 'resident'>): void {
  for (let range = 0; range < file.resident.length; range++) doubt(file, range);
}

/** Notes that bytes [offset, offset + size) could not be read from the local file: they are treated as missing. */
export function noteUnreadable(file: FlatFile, offset: number, size: number): void {
  const { first, last } = rangesIn(file, offset, size);
  for (let range = first; range < last; range++) doubt(file, range);
}

function doubt({ resident }: Pick<FlatFile, 'resident'>, range: number): void {
  Atomics.compareExchange(resident, range, residency.verified, residency.unverified);
}

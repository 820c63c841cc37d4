import { upperBound } from '../util/search.ts';

/** A set of bytes of a blob, as ranges [start, end) that are ascending, not adjacent and not empty. */
export class RangeSet {
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  /** The set of some ranges; undefined if they are not ranges of safe integers in ascending order and not adjacent. */
  static of(ranges: readonly (readonly [start: number, end: number])[]): RangeSet | undefined {
    const set = new RangeSet();
    let last = -1;
    for (const [start, end] of ranges) {
      if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start <= last || end <= start) return undefined;
      set.#starts.push(start);
      set.#ends.push(end);
      last = end;
    }
    return set;
  }

  /** How many ranges it has. */
  get length(): number {
    return this.#starts.length;
  }

  /** How many bytes are in it. */
  get bytes(): number {
    return this.#starts.reduce((sum, start, i) => sum + this.#ends[i]! - start, 0);
  }

  /** The ranges, ascending. */
  get ranges(): [start: number, end: number][] {
    return this.#starts.map((start, i) => [start, this.#ends[i]!]);
  }

  /** Adds the bytes [start, end). */
  add(start: number, end: number): void {
    if (end <= start) return;
    let first = upperBound(this.#starts, start);
    if (first > 0 && this.#ends[first - 1]! >= start) first--;
    let last = first;
    let [from, to] = [start, end];
    while (last < this.#starts.length && this.#starts[last]! <= end) {
      from = Math.min(from, this.#starts[last]!);
      to = Math.max(to, this.#ends[last]!);
      last++;
    }
    this.#starts.splice(first, last - first, from);
    this.#ends.splice(first, last - first, to);
  }

  clear(): void {
    this.#starts.length = 0;
    this.#ends.length = 0;
  }

  /** The end of the run of bytes from `position` on that are in the set: `position` itself if that byte is not. */
  endOf(position: number): number {
    const i = upperBound(this.#starts, position) - 1;
    return i < 0 ? position : Math.max(this.#ends[i]!, position);
  }

  /** The start of the first range that begins after `position`; infinity if there is none. */
  nextStart(position: number): number {
    return this.#starts[upperBound(this.#starts, position)] ?? Number.POSITIVE_INFINITY;
  }

  /** Whether all of [start, end) is in the set. */
  covers(start: number, end: number): boolean {
    return start >= end || this.endOf(start) >= end;
  }
}

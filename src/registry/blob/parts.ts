/** The bytes [start, end) of a blob. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** The part still missing of several ranges of a blob, which are ascending and not adjacent. */
export class PartsLeft {
  readonly #parts: readonly ByteRange[];
  #part = 0;
  #position = 0;
  #taken = 0;

  /** Throws RangeError if the parts are not ranges in ascending order. */
  constructor(parts: readonly ByteRange[]) {
    let last = 0;
    this.#parts = parts.map(({ start, end }) => {
      if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < last || end < start) {
        throw new RangeError(`the bytes ${start} to ${end} after byte ${last} are not a range`);
      }
      last = end;
      return { start, end };
    });
    this.#position = this.#parts[0]?.start ?? 0;
    this.#skipDone();
  }

  get isDone(): boolean {
    return this.#part === this.#parts.length;
  }

  /** How many bytes of the parts have arrived. */
  get taken(): number {
    return this.#taken;
  }

  /** The first `count` missing ranges, without empty ones; the first one may be the rest of a part. */
  wanted(count: number): ByteRange[] {
    if (this.isDone) return [];
    const [first, ...others] = this.#parts.slice(this.#part).filter(({ start, end }) => start < end);
    return [{ start: this.#position, end: first!.end }, ...others].slice(0, count);
  }

  /** Whether bytes at `offset` would skip some that are missing. */
  leavesOut(offset: number): boolean {
    return !this.isDone && offset > this.#position;
  }

  /**
   * Gives each part its share of the bytes at `offset` of the blob; bytes that no part misses are dropped.
   * `leavesOut(offset)` must be false.
   */
  *take(offset: number, data: Buffer): Generator<{ part: number; data: Buffer }, void> {
    while (!this.isDone) {
      const end = Math.min(this.#parts[this.#part]!.end, offset + data.length);
      if (end <= this.#position) return;
      const share = { part: this.#part, data: data.subarray(this.#position - offset, end - offset) };
      this.#taken += end - this.#position;
      this.#position = end;
      this.#skipDone();
      yield share;
    }
  }

  #skipDone(): void {
    while (!this.isDone && this.#position >= this.#parts[this.#part]!.end) {
      this.#part++;
      this.#position = this.#parts[this.#part]?.start ?? 0;
    }
  }
}

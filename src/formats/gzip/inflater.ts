/**
 * What a step of an `Inflater` did, and why it ended: the input is used up, the output is full, a deflate block ended,
 * or the last one did.
 */
export interface InflateStep {
  readonly consumed: number;
  readonly produced: number;
  readonly stop: 'room' | 'block' | 'end';
  /** At the end of a block: how many of the high bits of the last consumed byte belong to the next block, 0 to 7. */
  readonly unusedBits: number;
}

/**
 * Decodes raw deflate (RFC 1951) into memory of the caller, at once. kernel/zlib.ts makes it. Methods throw DataLoss if
 * the data is not deflate.
 */
export interface Inflater extends Disposable {
  /** Makes another one. */
  another(): Inflater;
  /** Starts a new stream. */
  reset(): void;
  /** Puts `bits` bits before the input, the lowest of `value` first. Only right after `reset`. */
  prime(bits: number, value: number): void;
  /** Sets the previous output of the stream, the last 32 KiB of it. Only at a block's start. */
  setWindow(window: Uint8Array): void;
  /** A copy of the last 32 KiB of output, or of all of it if there is less. It is in memory that threads can share. */
  window(): Buffer;
  /**
   * Reads input[at …] and writes output[from, until).
   *
   * @param stopAtBlocks return at the end of each block too
   */
  step(
    input: Uint8Array,
    at: number,
    output: Uint8Array,
    from: number,
    until: number,
    stopAtBlocks: boolean,
  ): InflateStep;
}

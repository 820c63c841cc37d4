/** What a step of an `Inflater` has done, and why it ended: the input is used up, the output is full, a block of deflate ended, or its last one did. */
export interface InflateStep {
  readonly consumed: number;
  readonly produced: number;
  readonly stop: 'room' | 'block' | 'end';
  /** At the end of a block: how many of the high bits of the last byte that was consumed belong to the next block, 0 to 7. */
  readonly unusedBits: number;
}

/** Decodes raw deflate (RFC 1951) into memory of the caller, at once. Made by kernel/zlib.ts. Methods throw DataLoss for what is not deflate. */
export interface Inflater extends Disposable {
  /** A further one. */
  another(): Inflater;
  /** Starts a stream anew. */
  reset(): void;
  /** Puts `bits` bits before the input, the lowest of `value` first. Right after `reset`. */
  prime(bits: number, value: number): void;
  /** Sets what the stream has put out before, the last 32 KiB of it. At a block's start. */
  setWindow(window: Uint8Array): void;
  /** A copy of the last 32 KiB that the stream has put out, or all of it if that is less. It is in memory that threads can share. */
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

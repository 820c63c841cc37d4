import type { Assembler } from './assembler.ts';

/** For how long bytes must have arrived before they show its speed. */
const minObservedMs = 250;

/** A request under way: the chunks that it brings, in this order, and its speed. */
export class Download {
  /** The times of the request and of its first byte, of `performance.now()`; the latter is 0 until then. */
  readonly requestedMs = performance.now();
  firstByteMs = 0;
  /** Blob bytes that have arrived. */
  bytes = 0;
  /** Whether it brings chunks that another request brings too, but later. */
  readonly overtakes: boolean;
  readonly #parts: readonly Assembler[];

  constructor(parts: readonly Assembler[], overtakes: boolean) {
    this.#parts = parts;
    this.overtakes = overtakes;
  }

  /** Notes that bytes arrived. */
  add(bytes: number): void {
    this.firstByteMs ||= performance.now();
    this.bytes += bytes;
  }

  /**
   * How long it will take until a chunk is here at the present speed, in milliseconds; 0 if that is not known yet.
   * Undefined if it does not bring the chunk, or has brought it.
   */
  msUntil(chunk: number): number | undefined {
    let ahead = -this.bytes;
    for (const part of this.#parts) {
      const { first, last } = part.missing;
      if (chunk >= first && chunk < last) return this.#msFor(ahead + part.endOf(chunk) - part.start);
      ahead += part.end - part.start;
    }
    return undefined;
  }

  #msFor(bytes: number): number {
    const ms = performance.now() - this.firstByteMs;
    return this.firstByteMs === 0 || ms < minObservedMs ? 0 : (Math.max(bytes, 0) / this.bytes) * ms;
  }
}

import type { Assembler } from './assembler.ts';

/** For how long bytes must have come before that says how fast it is. */
const minObservedMs = 250;

/** A request under way: what it brings, in this order, and how fast it has been. */
export class Download {
  /** When it was sent and when its first byte came, of `performance.now()`; the latter 0 until then. */
  readonly requestedMs = performance.now();
  firstByteMs = 0;
  /** Blob bytes that have come. */
  bytes = 0;
  /** Whether it brings what another one brings too, but later. */
  readonly overtakes: boolean;
  readonly #parts: readonly Assembler[];

  constructor(parts: readonly Assembler[], overtakes: boolean) {
    this.#parts = parts;
    this.overtakes = overtakes;
  }

  /** Takes note of bytes that came. */
  add(bytes: number): void {
    this.firstByteMs ||= performance.now();
    this.bytes += bytes;
  }

  /** How long it will take until a chunk is here, in milliseconds, if it goes on as it did; 0 where that is not known yet. Undefined where it does not bring the chunk, or has brought it. */
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

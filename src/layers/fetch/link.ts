/** Assumption about an unknown link. */
const firstRoundTripMs = 5;

/** Inflating and verifying manage about so many blob bytes a millisecond: a faster link is no reason to fetch more. */
const maxBytesPerMs = 100_000;

/** Shorter answers say nothing about bandwidth. */
const minMeasuredBytes = 128 << 10;

/** The weight of the newest bandwidth; the first one counts fully. */
const weight = 0.3;

/**
 * How fast the estimate of the round trip grows again: the shortest one is the link's, longer ones come from a busy
 * server or machine.
 */
const forget = 1.05;

/** Running estimates of the round trip to the registry and of the bandwidth from it. */
export class Link {
  #roundTripMs: number | undefined;
  #bytesPerMs = maxBytesPerMs;
  #isMeasured = false;

  /** Notes an answer: the time to its first byte after the request, and the time of so many bytes after that. */
  measured(firstByteMs: number, bytes: number, bodyMs: number): void {
    this.#roundTripMs = Math.min((this.#roundTripMs ?? firstByteMs) * forget, firstByteMs);
    if (bytes < minMeasuredBytes) return;
    const rate = Math.min(bytes / Math.max(bodyMs, 0.1), maxBytesPerMs);
    this.#bytesPerMs += (rate - this.#bytesPerMs) * (this.#isMeasured ? weight : 1);
    this.#isMeasured = true;
  }

  /** The bytes that arrive in one round trip: a request for fewer bytes is not much faster. */
  get bytesPerRoundTrip(): number {
    return this.bytesIn(this.#roundTripMs ?? firstRoundTripMs);
  }

  /** The bytes that arrive in a time. */
  bytesIn(ms: number): number {
    return ms * this.#bytesPerMs;
  }
}

/** What is assumed of a link of which nothing is known yet. */
const firstRoundTripMs = 5;

/** Inflating and verifying keep up with about so many blob bytes a millisecond: a faster link does not make more of them worth fetching. */
const maxBytesPerMs = 100_000;

/** Answers shorter than this say nothing about bandwidth. */
const minMeasuredBytes = 128 << 10;

/** How much the newest bandwidth counts; the first counts in full. */
const weight = 0.3;

/** How fast the estimate of the round trip forgets: the shortest one is the link's, longer ones are those of a busy server or machine. */
const forget = 1.05;

/** Running estimates of the round trip to the registry and of the bandwidth from it. */
export class Link {
  #roundTripMs: number | undefined;
  #bytesPerMs = maxBytesPerMs;
  #isMeasured = false;

  /** Takes note of an answer: how long its first byte took after the request, and how long so many bytes took after that. */
  measured(firstByteMs: number, bytes: number, bodyMs: number): void {
    this.#roundTripMs = Math.min((this.#roundTripMs ?? firstByteMs) * forget, firstByteMs);
    if (bytes < minMeasuredBytes) return;
    const rate = Math.min(bytes / Math.max(bodyMs, 0.1), maxBytesPerMs);
    this.#bytesPerMs += (rate - this.#bytesPerMs) * (this.#isMeasured ? weight : 1);
    this.#isMeasured = true;
  }

  /** The bytes that arrive in the time of one round trip: to fetch fewer with a request does not make it much quicker. */
  get bytesPerRoundTrip(): number {
    return this.bytesIn(this.#roundTripMs ?? firstRoundTripMs);
  }

  /** The bytes that arrive in a time. */
  bytesIn(ms: number): number {
    return ms * this.#bytesPerMs;
  }
}

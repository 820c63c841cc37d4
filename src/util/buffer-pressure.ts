import { setFlagsFromString } from 'node:v8';

/**
 * How many bytes of buffers may become garbage before a thread collects: of short-lived ones, and of long-lived ones.
 */
const collectAfterBytes = 4 << 20;
const collectAllAfterBytes = 8 << 20;

/** How long a collection in steps may take. A collection of the young generation would finish it at once, in one go. */
export const stepsMs = 500;

type Collect = (options: { type: 'minor' | 'major'; flavor?: 'regular' | 'last-resort' }) => void;

/** Until when, in `performance.now()` milliseconds, this thread may be collecting in steps. */
let steppingUntilMs = Number.NEGATIVE_INFINITY;
const isStepping = (): boolean => performance.now() < steppingUntilMs;

/**
 * Keeps a thread's dropped buffers from piling up. V8 counts only its own heap when it decides to collect, and lets
 * tens of MB of buffers outside of it wait. It has an effect only if Node runs with `--expose-gc`.
 */
export class BufferPressure {
  readonly #collect = (globalThis as { gc?: Collect }).gc;
  readonly #inSteps: boolean;
  #bytes = 0;
  #oldBytes = 0;
  /** Set if something was dropped while an earlier collection goes on, which may miss it. */
  #again: NodeJS.Timeout | undefined;

  /** @param inSteps whether the thread has an event loop that must not wait for a whole collection */
  constructor(inSteps = false) {
    this.#inSteps = inSteps;
  }

  /** Tells that short-lived buffers of so many bytes have become garbage. */
  dropped(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < collectAfterBytes || isStepping()) return;
    this.#bytes = 0;
    this.#collect?.({ type: 'minor' });
  }

  /** Tells that long-lived buffers of so many bytes have become garbage. */
  released(bytes: number): void {
    this.#oldBytes += bytes;
    if (this.#oldBytes < collectAllAfterBytes || (isStepping() && !this.#inSteps)) return;
    this.#oldBytes = 0;
    this.#collectAll('regular');
  }

  /**
   * Collects everything, or, if the thread collects in steps, begins to. For a moment at which no reader waits.
   *
   * @param thoroughly also returns empty pages to the system, which takes several times as long
   */
  rest(thoroughly = false): void {
    this.#bytes = 0;
    this.#collectAll(thoroughly ? 'last-resort' : 'regular');
  }

  /** Collects everything at once, if there is too little memory to wait for a better moment. */
  collectNow(): void {
    this.#bytes = this.#oldBytes = 0;
    this.#collect?.({ type: 'major', flavor: 'regular' });
  }

  #collectAll(flavor: 'regular' | 'last-resort'): void {
    if (this.#collect === undefined) return;
    if (!this.#inSteps) {
      this.#collect({ type: 'major', flavor });
      return;
    }
    if (isStepping()) {
      if (this.#again !== undefined) return;
      const leftMs = steppingUntilMs - performance.now();
      this.#again = setTimeout(() => {
        this.#again = undefined;
        this.#collectAll(flavor);
      }, leftMs + 1).unref();
      return;
    }
    steppingUntilMs = performance.now() + stepsMs;
    // With this flag, after any collection of the young generation V8 begins one of everything. It marks on other
    // threads and in tasks of a millisecond. Only the end of it, a fraction of the whole, is one pause. The flag only
    // says when to begin.
    setFlagsFromString('--stress-incremental-marking');
    try {
      this.#collect({ type: 'minor' });
    } finally {
      setFlagsFromString('--no-stress-incremental-marking');
    }
  }
}

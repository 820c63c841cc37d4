/** Measures how long readers wait, in `performance.now()` milliseconds. */
export class WaitClock {
  /** Reads that wait now. */
  waiting = 0;
  /** Reads that have waited. */
  waits = 0;
  longestMs = 0;
  #waitedMs = 0;
  #sinceMs = 0;

  /** How long at least one reader waited. */
  get waitedMs(): number {
    return this.#waitedMs + (this.waiting > 0 ? performance.now() - this.#sinceMs : 0);
  }

  /** A read begins to wait at `nowMs`, which is to be given to `end`. */
  begin(nowMs: number): void {
    if (this.waiting++ === 0) this.#sinceMs = nowMs;
  }

  /** A read that began to wait at `startedMs` is over. @returns how long it waited */
  end(startedMs: number): number {
    const now = performance.now();
    this.waits++;
    this.longestMs = Math.max(this.longestMs, now - startedMs);
    if (--this.waiting === 0) this.#waitedMs += now - this.#sinceMs;
    return now - startedMs;
  }
}

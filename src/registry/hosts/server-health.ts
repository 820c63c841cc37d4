/** How long a server that failed is asked after all others: the first time, and at most, if it keeps failing. */
const firstSkipMs = 10_000;
const maxSkipMs = 300_000;

const maxServers = 1_000;

interface Failures {
  count: number;
  untilMs: number;
}

/**
 * Which servers failed lately, by origin. As long as there are others, they are skipped for a while, longer each time.
 */
export class ServerHealth {
  readonly #failures = new Map<string, Failures>();

  /**
   * Notes a failure that does not concern one blob alone. `atLeastMs` is how long the server wants to be left alone.
   */
  failed(origin: string, atLeastMs = 0): void {
    if (this.isSkipped(origin)) return; // requests that were under way at the first failure tell nothing new
    const count = (this.#failures.get(origin)?.count ?? 0) + 1;
    const skipMs = Math.min(Math.max(firstSkipMs * 2 ** (count - 1), atLeastMs), maxSkipMs);
    this.#failures.delete(origin);
    this.#failures.set(origin, { count, untilMs: performance.now() + skipMs });
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > maxServers && oldest !== undefined) this.#failures.delete(oldest);
  }

  succeeded(origin: string): void {
    this.#failures.delete(origin);
  }

  isSkipped(origin: string): boolean {
    const failures = this.#failures.get(origin);
    return failures !== undefined && failures.untilMs > performance.now();
  }
}

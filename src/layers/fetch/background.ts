import { setTimeout as sleep } from 'node:timers/promises';

/** When the background goes on. */
export interface Patience {
  /** How long nobody must have waited for data. */
  readonly quietMs: number;
  /** How long it waits for that at most: readers who never rest do not starve it. */
  readonly maxWaitMs: number;
  readonly pollMs: number;
  /** How long a layer rests that could not be filled. */
  readonly restMs: number;
}

/** How fast layers from an earlier life are verified: little of a core, and of a disk. */
const verifyBytesPerSecond = 100 << 20;

const defaultPatience: Patience = { quietMs: 5_000, maxWaitMs: 15_000, pollMs: 250, restMs: 30_000 };

/** What the background fills: a layer. */
export interface Fillable {
  readonly complete: boolean;
  /** When a reader last had to wait, in `performance.now()` milliseconds. */
  readonly lastMissMs: number;
  /** Fetches some of what is missing. @returns its bytes; 0 when there is nothing left to fetch or nothing can be fetched now */
  fillSome(): Promise<number>;
  /** Verifies some of what is here from an earlier life. @returns its bytes; 0 when there is nothing left to verify */
  verifySome(): Promise<number>;
}

/**
 * Verifies and fetches what nobody has read yet, some at a time, layer after layer. It lets readers go first: it waits until no reader has
 * waited for a while, but never so long that it would starve.
 */
export class Background {
  readonly #maxBytesPerSecond: number | undefined;
  readonly #patience: Patience;
  /** The layers, and until when each rests, in `performance.now()` milliseconds. */
  readonly #layers = new Map<Fillable, number>();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** Ends the pause of one that waits for a layer that does not rest. */
  #added = new AbortController();
  readonly #mayFetch: () => boolean;

  /**
   * @param maxBytesPerSecond undefined for no limit
   * @param mayFetch whether there is space for more
   */
  constructor(maxBytesPerSecond: number | undefined, mayFetch: () => boolean, patience: Patience = defaultPatience) {
    this.#maxBytesPerSecond = maxBytesPerSecond;
    this.#mayFetch = mayFetch;
    this.#patience = patience;
  }

  /** Adds a layer to those that are filled, unless it has been closed. The layer leaves them by itself when it is complete. */
  add(layer: Fillable): void {
    if (this.#stop.signal.aborted) return;
    this.#layers.set(layer, 0);
    this.#added.abort();
    this.#running ??= this.#run();
  }

  /** Takes a layer out, such as one that is closed. */
  remove(layer: Fillable): void {
    this.#layers.delete(layer);
  }

  /** Ends the filling; resolves when no request of it is left. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#layers.clear();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#layers.size > 0) {
      await this.#quiet();
      const layer = this.#next();
      if (layer === undefined) {
        await this.#pauseForNext();
        continue;
      }
      const verified = await layer.verifySome();
      if (verified > 0) {
        await this.#pause((verified / verifyBytesPerSecond) * 1000);
        continue;
      }
      const bytes = layer.complete || !this.#mayFetch() ? 0 : await layer.fillSome();
      if (layer.complete) this.#layers.delete(layer);
      else if (bytes === 0 && this.#layers.has(layer))
        this.#layers.set(layer, performance.now() + this.#patience.restMs);
      if (this.#maxBytesPerSecond !== undefined) await this.#pause((bytes / this.#maxBytesPerSecond) * 1000);
    }
    this.#running = undefined;
  }

  /** The layer whose turn it is: the first that does not rest, which goes to the end of the line. */
  #next(): Fillable | undefined {
    const now = performance.now();
    for (const [layer, restsUntil] of this.#layers) {
      if (restsUntil > now) continue;
      this.#layers.delete(layer);
      this.#layers.set(layer, restsUntil);
      return layer;
    }
    return undefined;
  }

  /** Resolves when no reader has waited for a while, or after the longest wait. */
  async #quiet(): Promise<void> {
    const { quietMs, maxWaitMs, pollMs } = this.#patience;
    const deadline = performance.now() + maxWaitMs;
    for (;;) {
      const now = performance.now();
      let lastMissMs = 0;
      for (const layer of this.#layers.keys()) lastMissMs = Math.max(lastMissMs, layer.lastMissMs);
      if (now - lastMissMs >= quietMs || now >= deadline || this.#stop.signal.aborted) return;
      await this.#pause(Math.max(pollMs, Math.min(lastMissMs + quietMs, deadline) - now));
    }
  }

  /** Resolves when a layer has rested for long enough, or another one comes. */
  async #pauseForNext(): Promise<void> {
    if (this.#layers.size === 0) return;
    this.#added = new AbortController();
    const ms = Math.min(...this.#layers.values()) - performance.now();
    await this.#pause(Math.max(this.#patience.pollMs, ms), AbortSignal.any([this.#added.signal, this.#stop.signal]));
  }

  async #pause(ms: number, signal = this.#stop.signal): Promise<void> {
    try {
      await sleep(ms, undefined, { signal, ref: false });
    } catch {
      // It is closed.
    }
  }
}

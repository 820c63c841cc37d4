import { setTimeout as sleep } from 'node:timers/promises';

/** When the background works. */
export interface Patience {
  /** For how long no reader must have waited for data. */
  readonly quietMs: number;
  /** The maximum wait for that: busy readers do not starve the background. */
  readonly maxWaitMs: number;
  readonly pollMs: number;
  /** How long a layer is left alone that could not be filled. */
  readonly restMs: number;
}

/** How fast layers from an earlier life are verified: it takes a small part of a core, and of a disk. */
const verifyBytesPerSecond = 100 << 20;

const defaultPatience: Patience = { quietMs: 5_000, maxWaitMs: 15_000, pollMs: 250, restMs: 30_000 };

/** A layer that the background fills. */
export interface Fillable {
  readonly complete: boolean;
  /** When a reader last had to wait, in `performance.now()` milliseconds. */
  readonly lastMissMs: number;
  /** Fetches some missing data. @returns its bytes; 0 if nothing is missing or nothing can be fetched now */
  fillSome(): Promise<number>;
  /** Verifies some data from an earlier life. @returns its bytes; 0 if nothing is left to verify */
  verifySome(): Promise<number>;
}

/**
 * Verifies and fetches what was not read yet, some at a time, layer after layer. Readers go first: it waits until no
 * reader has waited for a while, but never so long that it would starve.
 */
export class Background {
  readonly #maxBytesPerSecond: number | undefined;
  readonly #patience: Patience;
  /** The layers, and until when each is left alone, in `performance.now()` milliseconds. */
  readonly #layers = new Map<Fillable, number>();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** Ends the pause if a new layer comes. */
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

  /** Adds a layer, unless the background has been closed. A complete layer is removed by itself. */
  add(layer: Fillable): void {
    if (this.#stop.signal.aborted) return;
    this.#layers.set(layer, 0);
    this.#added.abort();
    this.#running ??= this.#run();
  }

  /** Removes a layer, for example a closed one. */
  remove(layer: Fillable): void {
    this.#layers.delete(layer);
  }

  /** Ends the filling; resolves when none of its requests is left. */
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

  /** The next layer: the first one that is not left alone. It moves to the end of the line. */
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

  /** Resolves when no reader has waited for a while, or after the maximum wait. */
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

  /** Resolves when a layer can be tried again, or another one comes. */
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

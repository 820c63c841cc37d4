import { setTimeout as sleep } from 'node:timers/promises';

/** How often connections are used so that they stay, and for how long after there was use for them. */
export interface KeepTimes {
  readonly refreshMs: number;
  readonly expectedMs: number;
}

/** Load balancers close connections that were idle for a minute. */
const keepTimes: KeepTimes = { refreshMs: 45_000, expectedMs: 600_000 };

/**
 * Keeps connections open, and tokens fresh, as long as they are likely to be used: a question on a connection that is
 * there takes one round trip, and on a new one three or more.
 */
export class OpenConnections implements AsyncDisposable {
  readonly #open: (signal: AbortSignal) => Promise<void>;
  readonly #stop = new AbortController();
  readonly #times: KeepTimes;
  #expectedMs = 0;
  #keeping: Promise<void> | undefined;

  /** @param open opens them, or uses those that are there; never rejects */
  constructor(open: (signal: AbortSignal) => Promise<void>, times = keepTimes) {
    this.#open = open;
    this.#times = times;
  }

  /** Opens them now. */
  async open(): Promise<void> {
    await this.#open(this.#stop.signal);
  }

  /** Notes that there is use for them, and so that there will be again. */
  expect(): void {
    this.#expectedMs = performance.now() + this.#times.expectedMs;
    this.#keeping ??= this.#keep().finally(() => (this.#keeping = undefined));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#keeping;
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted && performance.now() < this.#expectedMs) {
      await sleep(this.#times.refreshMs, undefined, { signal, ref: false }).catch(() => undefined);
      if (!signal.aborted) await this.#open(signal);
    }
  }
}

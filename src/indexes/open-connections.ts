import { setTimeout as sleep } from 'node:timers/promises';

/** How often connections are used so that they stay open, and for how long after they were needed. */
export interface KeepTimes {
  readonly refreshMs: number;
  readonly expectedMs: number;
}

/** Load balancers close connections after a minute without use. */
const keepTimes: KeepTimes = { refreshMs: 45_000, expectedMs: 600_000 };

/**
 * Keeps connections open, and tokens fresh, as long as they are likely to be needed: a question takes one round trip on
 * an open connection, and three or more on a new one.
 */
export class OpenConnections implements AsyncDisposable {
  readonly #open: (signal: AbortSignal) => Promise<void>;
  readonly #stop = new AbortController();
  readonly #times: KeepTimes;
  #expectedMs = 0;
  #keeping: Promise<void> | undefined;

  /** @param open opens them, or uses the open ones; never rejects */
  constructor(open: (signal: AbortSignal) => Promise<void>, times = keepTimes) {
    this.#open = open;
    this.#times = times;
  }

  /** Opens them now. */
  async open(): Promise<void> {
    await this.#open(this.#stop.signal);
  }

  /** Notes that they are needed, and so probably will be again. */
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

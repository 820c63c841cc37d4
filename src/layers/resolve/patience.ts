/**
 * How long the registry may send nothing of what a client waits for, and how long all of it may take, before the client
 * is told to pull the layer itself.
 */
export const maxSilenceMs = 10_000;
export const maxMs = 60_000;

/** The patience with a registry while a client waits: it ends after a silence, and in any case after some time. */
export class Patience implements Disposable {
  readonly #over = new AbortController();
  readonly #deadline: NodeJS.Timeout;
  #silence: NodeJS.Timeout;

  constructor() {
    this.#deadline = this.#endAfter(maxMs);
    this.#silence = this.#endAfter(maxSilenceMs);
  }

  /** Aborts when the patience ends. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Notes that something came. */
  heard(): void {
    clearTimeout(this.#silence);
    this.#silence = this.#endAfter(maxSilenceMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#deadline);
  }

  #endAfter(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#over.abort(), ms);
  }
}

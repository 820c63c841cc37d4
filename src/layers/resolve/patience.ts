/**
 * How long the registry may be silent while a client waits, and how long the whole answer may take, before the client
 * must pull the layer itself.
 */
export const maxSilenceMs = 10_000;
export const maxMs = 60_000;

/** The patience with a registry while a client waits. It ends after a silence, and in any case after some time. */
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

  /** Notes that bytes arrived. */
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

import { errors } from 'undici';
import { type Asked, networkError } from '../errors.ts';

/** How long a request may wait for a free connection, for the lookup of a name and for handshakes, in total. */
const maxWaitMs = 60_000;

/**
 * The time-out of the connection comes first, because it has better error messages. This one is for servers that keep
 * that one from firing.
 */
const graceMs = 1_000;

/**
 * The one deadline for the head of an answer. It includes redirects, tokens, informational answers and heads that come
 * byte by byte, so no server can make a request take longer. Only the wait for a connection counts separately, because
 * other requests use that time.
 */
export class Deadline implements Disposable {
  /** Aborts with a RegistryError that may be retried, or with the caller's reason. */
  readonly signal: AbortSignal;
  readonly #asked: Asked;
  readonly #over = new AbortController();
  #headMs: number;
  #waitMs = maxWaitMs;
  #isWaiting = false;
  #sinceMs = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /** `headMs` is how long the servers may take; 0 for ever, if the caller watches the request itself. */
  constructor(asked: Asked, headMs: number, caller: AbortSignal | undefined) {
    this.#asked = asked;
    this.#headMs = headMs === 0 ? Number.POSITIVE_INFINITY : headMs + Math.min(headMs, graceMs);
    this.signal = caller === undefined ? this.#over.signal : AbortSignal.any([this.#over.signal, caller]);
    this.#arm();
  }

  /** From now on the request waits for a connection. */
  waiting(): void {
    this.#switch(true);
  }

  /** The request is on its way. */
  sent(): void {
    this.#switch(false);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #switch(isWaiting: boolean): void {
    const spentMs = performance.now() - this.#sinceMs;
    if (this.#isWaiting) this.#waitMs -= spentMs;
    else this.#headMs -= spentMs;
    this.#sinceMs += spentMs;
    this.#isWaiting = isWaiting;
    this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#over.signal.aborted) return;
    const leftMs = this.#isWaiting ? this.#waitMs : this.#headMs;
    if (leftMs === Number.POSITIVE_INFINITY) return;
    const isWaiting = this.#isWaiting;
    this.#timer = setTimeout(() => this.#end(isWaiting), Math.max(leftMs, 0));
  }

  #end(isWaiting: boolean): void {
    const cause = isWaiting ? new errors.ConnectTimeoutError() : new errors.HeadersTimeoutError();
    this.#over.abort(networkError(this.#asked, cause));
  }
}

/**
 * What is tried again, and when: a request whose error is `retryable`, as `registry/errors.ts` and `network-reasons.ts`
 * decide. A new rule of how often or how long is a field of `RetryPolicy`; which server is asked next is decided in
 * `hosts/mirrors.ts`.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../log.ts';
import { errnoOf, explain } from '../../errors.ts';
import { abortError, RegistryError } from '../errors.ts';

/** How often and how long a failed request is tried again. */
export interface RetryPolicy {
  /** Tries in a row without a single byte of progress before the error stands. */
  readonly tries: number;
  /** The same for tries in which a server was silent until the time-out. */
  readonly silentTries: number;
  /** The first wait. Each further one is twice as long, up to `maxDelayMs`, minus a random part of up to half. */
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
  /**
   * How long one operation may wait for the network, in addition to what `minBytesPerSecond` allows for the received
   * bytes.
   */
  readonly totalMs: number;
  readonly minBytesPerSecond: number;
}

export const defaultRetryPolicy: RetryPolicy = {
  tries: 5,
  silentTries: 5,
  minDelayMs: 100,
  maxDelayMs: 10_000,
  totalMs: 120_000,
  minBytesPerSecond: 16 * 1024,
};

/** The longest wait that a server may ask for with Retry-After. */
const maxRetryAfterMs = 30_000;

/** A range that drops this often is not worth resuming, even with progress each time. */
const maxFailures = 100;

const silences = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT']);

/** The tries of one operation: waits between them, and throws if there are no more. */
export class Tries {
  readonly #policy: RetryPolicy;
  readonly #log: Log;
  readonly #signal: AbortSignal | undefined;
  readonly #minBytesPerSecond: number;
  #budgetMs: number;
  #inARow = 0;
  #silences = 0;
  #failures = 0;
  #spentMs = 0;

  /** `bytes` is the size of a single transfer: time for it is given in advance. */
  constructor(policy: RetryPolicy, log: Log, signal: AbortSignal | undefined, bytes = 0) {
    this.#policy = policy;
    this.#log = log;
    this.#signal = signal;
    this.#minBytesPerSecond = policy.minBytesPerSecond;
    this.#budgetMs = policy.totalMs + (bytes / policy.minBytesPerSecond) * 1000;
  }

  /** Notes that bytes arrived: the next failure is the first in a row, and there is time for more. */
  progressed(bytes: number): void {
    this.#inARow = 0;
    this.#silences = 0;
    this.#budgetMs += (bytes / this.#minBytesPerSecond) * 1000;
  }

  /** Adds time spent on waiting for the network. */
  spent(ms: number): void {
    this.#spentMs += ms;
  }

  /** Waits for `promise` and adds the time. */
  async timing<T>(promise: Promise<T>): Promise<T> {
    const startedMs = performance.now();
    try {
      return await promise;
    } finally {
      this.spent(performance.now() - startedMs);
    }
  }

  /** Whether the operation has waited too long for its bytes. */
  get exhausted(): boolean {
    return this.leftMs < 0;
  }

  /** How much longer the operation may wait; 0 or less if it has waited too long for its bytes. */
  get leftMs(): number {
    return this.#budgetMs - this.#spentMs;
  }

  /**
   * Waits before the next try. Throws `error` if no retry can help or if the tries or the time are used up, and the
   * abort error of the signal.
   */
  async failed(error: unknown): Promise<void> {
    if (this.#signal?.aborted) throw abortError(this.#signal);
    if (!(error instanceof RegistryError) || !error.retryable) throw error;
    this.#inARow++;
    this.#failures++;
    if (silences.has(errnoOf(error.cause) ?? '') && ++this.#silences >= this.#policy.silentTries) throw error;
    if (this.#inARow >= this.#policy.tries || this.#failures >= maxFailures) throw error;
    const delayMs = Math.max(backoffMs(this.#policy, this.#inARow), Math.min(error.retryAfterMs ?? 0, maxRetryAfterMs));
    if (this.#spentMs + delayMs > this.#budgetMs) throw error;
    this.#log.debug(
      { error: explain(error), try: this.#inARow, delayMs: Math.round(delayMs) },
      'retrying a registry request',
    );
    try {
      await sleep(delayMs, undefined, this.#signal === undefined ? {} : { signal: this.#signal });
    } catch {
      throw abortError(this.#signal!);
    }
    this.#spentMs += delayMs;
  }
}

/** Runs `action` until it succeeds or `tries` throws, and adds its time. */
export async function retrying<T>(tries: Tries, action: () => Promise<T>): Promise<T> {
  for (;;) {
    const startedMs = performance.now();
    try {
      return await action();
    } catch (error) {
      tries.spent(performance.now() - startedMs);
      await tries.failed(error);
    }
  }
}

/** The wait that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date); undefined if it says nothing. */
export function parseRetryAfter(header: string | undefined, nowMs: number = Date.now()): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  if (!/^[A-Za-z]{3,9},? /.test(text)) return undefined;
  const dateMs = Date.parse(text);
  return Number.isNaN(dateMs) ? undefined : Math.max(dateMs - nowMs, 0);
}

function backoffMs(policy: RetryPolicy, inARow: number): number {
  const fullMs = Math.min(policy.maxDelayMs, policy.minDelayMs * 2 ** (inARow - 1));
  return fullMs * (0.5 + Math.random() / 2);
}

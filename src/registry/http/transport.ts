import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Zone } from '../hosts/addresses.ts';
import { Connections, type Route } from './connections.ts';
import type { Deadline } from './deadline.ts';
import { type Asked, networkError, RegistryError } from '../errors.ts';
import { type RegistryMetrics, registryMetrics, statusClass } from '../metrics.ts';

/** How long to wait for a connection, for the head of an answer, and between two pieces of its body. */
export interface Timeouts {
  readonly connectMs: number;
  readonly headersMs: number;
  readonly bodyIdleMs: number;
  /** How long one server may be silent, before or during an answer, if there is another one. */
  readonly patienceMs: number;
  /** How long a server is silent before the user is told. */
  readonly noticedMs: number;
}

export const defaultTimeouts: Timeouts = {
  connectMs: 10_000,
  headersMs: 30_000,
  bodyIdleMs: 15_000,
  patienceMs: 3_000,
  noticedMs: 5_000,
};

/** One HTTP request. */
export interface Outgoing extends Asked, Route {
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: Uint8Array | Readable | undefined;
  /** Overrides the time-out of the client; 0 for none, if the caller watches the request itself. */
  readonly headersMs?: number | undefined;
  readonly bodyIdleMs?: number | undefined;
  /** For the answer's head, and everything before it. */
  readonly deadline: Deadline;
}

/** The head of an answer and its body, which must be read to its end or destroyed. */
export interface Answer extends Asked {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Dispatcher.ResponseData['body'];
  /** How long the body may be silent. */
  readonly bodyIdleMs: number;
}

/** What was sent and received since the client was made. */
export interface Counters {
  requests: number;
  /** Bytes of bodies received. */
  bytes: number;
}

/** Sends requests and counts them, with time-outs. No retries, no redirects. */
export class Transport {
  readonly counters: Counters = { requests: 0, bytes: 0 };
  readonly #metrics: RegistryMetrics;
  readonly #timeouts: Timeouts;
  readonly #connections: Connections;
  readonly #onSilence: ((url: URL) => void) | undefined;

  /**
   * `certificates` are certificate authorities in PEM to trust in addition to those of Node and of the system;
   * `environment` names proxies; `onSilence` is called for each request without an answer for a while.
   */
  constructor(
    timeouts: Timeouts,
    certificates: readonly string[],
    environment: NodeJS.ProcessEnv,
    metrics: RegistryMetrics = registryMetrics(),
    onSilence?: (url: URL) => void,
  ) {
    this.#onSilence = onSilence;
    this.#metrics = metrics;
    metrics.receivedBytes.from(() => this.counters.bytes);
    this.#timeouts = timeouts;
    this.#connections = new Connections(timeouts.connectMs, certificates, environment);
  }

  /** Throws RegistryError if no answer came. If the signal of the deadline is or becomes aborted, it throws at once. */
  async send(outgoing: Outgoing): Promise<Answer> {
    const { method, url, headers, body, deadline } = outgoing;
    const { signal } = deadline;
    const bodyIdleMs = outgoing.bodyIdleMs ?? this.#timeouts.bodyIdleMs;
    this.counters.requests++;
    const isWatched = outgoing.headersMs !== 0; // an upload takes its time
    const notice = isWatched ? setTimeout(() => this.#onSilence?.(url), this.#timeouts.noticedMs).unref() : undefined;
    try {
      signal.throwIfAborted();
      deadline.waiting();
      const sending = this.#connections
        .dispatcher(outgoing)
        .compose(telling(deadline))
        .request({
          origin: url.origin,
          path: url.pathname + url.search,
          method,
          headers: { ...headers },
          ...(body === undefined ? {} : { body }),
          signal,
          headersTimeout: this.headersMs(outgoing.headersMs),
          bodyTimeout: bodyIdleMs,
        });
      const response = await unlessAborted(sending, signal);
      this.#metrics.requests.add(1, { status: statusClass(response.statusCode) });
      response.body.on('error', () => {});
      return { method, url, status: response.statusCode, headers: response.headers, body: response.body, bodyIdleMs };
    } catch (error) {
      deadline.sent();
      this.#metrics.requests.add(1, { status: 'none' });
      if (error instanceof RegistryError) throw error;
      throw networkError(outgoing, error, this.#connections.proxyOf(url));
    } finally {
      clearTimeout(notice);
    }
  }

  /** The time-out for the head of an answer if a request has none of its own. */
  headersMs(own: number | undefined): number {
    return own ?? this.#timeouts.headersMs;
  }

  /** The same, at most `ms`. */
  headersMsUpTo(ms: number): number {
    return Math.min(this.#timeouts.headersMs, ms);
  }

  /** The zone of a host that was connected to, as far as it is known. */
  zoneOf(hostname: string): Zone {
    return this.#connections.zoneOf(hostname);
  }

  /** Ends all connections, even those in use. */
  close(): Promise<void> {
    return this.#connections.close();
  }
}

/** Tells a deadline when a request gets its connection. */
function telling(deadline: Deadline): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    const start = handler.onRequestStart?.bind(handler);
    handler.onRequestStart = (...args) => {
      deadline.sent();
      start?.(...args);
    };
    return dispatch(options, handler);
  };
}

/** A request that still waits for its connection does not see the signal by itself. */
async function unlessAborted(
  sending: Promise<Dispatcher.ResponseData>,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      reject(signal.reason);
      sending.then(
        ({ body }) => body.on('error', () => {}).destroy(),
        () => {},
      );
    };
    signal.addEventListener('abort', abort, { once: true });
    sending.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

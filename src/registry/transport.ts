import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';
import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { isInNetworks, isLinkLocal, isLoopback } from './addresses.ts';
import { type Asked, networkError } from './errors.ts';
import { type RegistryMetrics, registryMetrics, statusClass } from './metrics.ts';

/** How long to wait for a connection, for the head of an answer, and between two pieces of its body. */
export interface Timeouts {
  readonly connectMs: number;
  readonly headersMs: number;
  readonly bodyIdleMs: number;
}

export const defaultTimeouts: Timeouts = { connectMs: 10_000, headersMs: 30_000, bodyIdleMs: 15_000 };

/** One HTTP request. */
export interface Outgoing extends Asked {
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: Uint8Array | Readable | undefined;
  /** Overrides the time-out of the client; 0 for none, where the caller watches the request itself. */
  readonly headersMs?: number | undefined;
  /** Whether the URL came from a server: its name may then not resolve to a link-local address. */
  readonly guarded?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** The head of an answer and its body, which must be read to its end or destroyed. */
export interface Answer extends Asked {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Dispatcher.ResponseData['body'];
}

/** What has gone over the network since the client was made. */
export interface Counters {
  requests: number;
  /** Bytes of bodies received. */
  bytes: number;
}

const connectionsPerHost = 16;
const keepAliveMs = 30_000;
const maxKeepAliveMs = 120_000;

/** HTTP/2 windows that do not throttle a long fat network; each bounds what one stream or connection buffers. */
const streamWindowBytes = 2 * 1024 * 1024;
const connectionWindowBytes = 8 * 1024 * 1024;

/** Sends requests: kept-alive connections, HTTP/2 where TLS negotiates it, proxies from the environment, time-outs. No retries, no redirects. */
export class Transport {
  readonly counters: Counters = { requests: 0, bytes: 0 };
  readonly #metrics: RegistryMetrics;
  readonly #timeouts: Timeouts;
  readonly #certificates: readonly string[];
  readonly #environment: NodeJS.ProcessEnv;
  #direct: Dispatcher | undefined;
  #guarded: Dispatcher | undefined;
  #proxied: Dispatcher | undefined;
  #secureContext: SecureContext | undefined;

  /** `certificates` are certificate authorities in PEM to trust beside those of Node and of the system. */
  constructor(
    timeouts: Timeouts,
    certificates: readonly string[],
    environment: NodeJS.ProcessEnv,
    metrics: RegistryMetrics = registryMetrics(),
  ) {
    this.#metrics = metrics;
    metrics.receivedBytes.from(() => this.counters.bytes);
    this.#timeouts = timeouts;
    this.#certificates = certificates;
    this.#environment = environment;
  }

  /** Throws RegistryError where no answer came, also for an aborted signal. */
  async send(outgoing: Outgoing): Promise<Answer> {
    const { method, url, headers, body, signal } = outgoing;
    this.counters.requests++;
    try {
      const response = await this.#dispatcher(url, outgoing.guarded ?? false).request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: { ...headers },
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { signal }),
        headersTimeout: outgoing.headersMs ?? this.#timeouts.headersMs,
        bodyTimeout: this.#timeouts.bodyIdleMs,
      });
      this.#metrics.requests.add(1, { status: statusClass(response.statusCode) });
      response.body.on('error', () => {});
      return { method, url, status: response.statusCode, headers: response.headers, body: response.body };
    } catch (error) {
      this.#metrics.requests.add(1, { status: 'none' });
      throw networkError(outgoing, error);
    }
  }

  /** Ends all connections, also those in use. */
  async close(): Promise<void> {
    await Promise.all([this.#direct?.destroy(), this.#guarded?.destroy(), this.#proxied?.destroy()]);
  }

  #dispatcher(url: URL, guarded: boolean): Dispatcher {
    if (usesProxy(url, this.#environment)) return (this.#proxied ??= this.#createProxied());
    if (guarded) return (this.#guarded ??= new Agent({ ...agentOptions, connect: this.#connector(guardedLookup) }));
    return (this.#direct ??= new Agent({ ...agentOptions, connect: this.#connector(lookup) }));
  }

  /** Makes TLS ready only when the first https URL comes: reading the system's certificates takes tens of milliseconds. */
  #connector(resolve: typeof guardedLookup): buildConnector.connector {
    const common = { timeout: this.#timeouts.connectMs, lookup: resolve };
    const plain = buildConnector(common);
    let secure: buildConnector.connector | undefined;
    return (options, callback) => {
      if (options.protocol !== 'https:') return plain(options, callback);
      secure ??= buildConnector({ ...common, secureContext: this.#trust(), allowH2: true });
      secure(options, callback);
    };
  }

  #createProxied(): Dispatcher {
    const environment = this.#environment;
    const tls = { timeout: this.#timeouts.connectMs, secureContext: this.#trust() };
    const httpProxy = environment['http_proxy'] || environment['HTTP_PROXY'];
    const httpsProxy = environment['https_proxy'] || environment['HTTPS_PROXY'];
    return new EnvHttpProxyAgent({
      ...agentOptions,
      ...(httpProxy ? { httpProxy } : {}),
      ...(httpsProxy ? { httpsProxy } : {}),
      noProxy: environment['no_proxy'] || environment['NO_PROXY'] || '',
      connectTimeout: this.#timeouts.connectMs,
      requestTls: { ...tls, allowH2: true },
      proxyTls: tls,
    });
  }

  #trust(): SecureContext {
    const authorities = [...getCACertificates('default'), ...getCACertificates('system'), ...this.#certificates];
    return (this.#secureContext ??= createSecureContext({ ca: [...new Set(authorities)] }));
  }
}

const agentOptions = {
  connections: connectionsPerHost,
  keepAliveTimeout: keepAliveMs,
  keepAliveMaxTimeout: maxKeepAliveMs,
  allowH2: true,
  h2Options: { connectionWindowSize: connectionWindowBytes, settings: { initialWindowSize: streamWindowBytes } },
};

/**
 * Whether the environment names a proxy for this URL, as curl and Go read it: `http_proxy` for http, `https_proxy` for https, never
 * for this machine itself. Host names in `no_proxy` are the proxy agent's to match; networks (`10.0.0.0/8`) are matched here.
 */
export function usesProxy(url: URL, environment: NodeJS.ProcessEnv): boolean {
  const name = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  if (!environment[name] && !environment[name.toUpperCase()]) return false;
  if (isLoopback(url.hostname)) return false;
  const exceptions = (environment['no_proxy'] || environment['NO_PROXY'] || '').split(/[\s,]+/);
  return !isInNetworks(
    url.hostname,
    exceptions.filter((entry) => entry.includes('/')),
  );
}

type LookupCallback = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void;

/** dns.lookup that hides link-local addresses, so that a redirect cannot reach a metadata service by a name that resolves to it. */
function guardedLookup(hostname: string, options: LookupOptions, callback: LookupCallback): void {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) return callback(error, []);
    const allowed = addresses.filter(({ address }) => !isLinkLocal(address));
    const [first] = allowed;
    if (first === undefined) {
      const refused = new Error(`refused to follow a redirect to "${hostname}": it has only link-local addresses`);
      return callback(Object.assign(refused, { code: 'EACCES' }), []);
    }
    if (options.all) return callback(null, allowed);
    callback(null, first.address, first.family);
  });
}

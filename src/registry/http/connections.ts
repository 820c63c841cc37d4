import type { LookupAddress, LookupOptions } from 'node:dns';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, Pool, ProxyAgent } from 'undici';
import { type Zone, zoneOf } from '../hosts/addresses.ts';
import { proxyFor } from '../hosts/proxies.ts';
import { skipInformational } from './informational.ts';
import { sharedLookup } from '../shared-lookup.ts';
import type { EndpointTls } from './tls.ts';

const connectionsPerHost = 16;
/** Longer than it takes until connections that are kept for later are used once more. */
const keepAliveMs = 90_000;
const maxKeepAliveMs = 120_000;

/**
 * HTTP/2 windows that do not throttle a fast connection over a long distance. Each bounds how much one stream or
 * connection buffers.
 */
const streamWindowBytes = 2 * 1024 * 1024;
const connectionWindowBytes = 8 * 1024 * 1024;

/**
 * Kinds of connections (zones, certificates, proxies). Certificates that change on disk make new kinds, and the oldest
 * are closed.
 */
const maxDispatchers = 64;

/** Host names whose zone is remembered. */
const maxNames = 1_000;

const agentOptions = {
  connections: connectionsPerHost,
  keepAliveTimeout: keepAliveMs,
  keepAliveMaxTimeout: maxKeepAliveMs,
  allowH2: true,
  // undici documents the window of a stream in `settings` and reads it beside that.
  h2Options: {
    connectionWindowSize: connectionWindowBytes,
    initialWindowSize: streamWindowBytes,
    settings: { initialWindowSize: streamWindowBytes },
  },
};

/** What decides which connections a request may use. */
export interface Route {
  readonly url: URL;
  /**
   * For a URL that a server named, the zone of that server; for a host that a stranger named, the zone of its name. The
   * connection goes to no address of another special zone, whatever the name resolves to. Undefined for a URL of the
   * configuration or of an image reference.
   */
  readonly zone?: Zone | undefined;
  readonly tls?: EndpointTls | undefined;
}

/** Kept-alive connections: direct or through a proxy of the environment, HTTP/2 if TLS negotiates it. */
export class Connections {
  readonly #connectMs: number;
  readonly #certificates: readonly string[];
  readonly #environment: NodeJS.ProcessEnv;
  readonly #dispatchers = new Map<string, Dispatcher>();
  readonly #zones = new Map<string, Zone>();
  readonly #contexts = new WeakMap<EndpointTls, SecureContext>();
  #commonContext: SecureContext | undefined;

  /** `certificates` are certificate authorities in PEM to trust in addition to those of Node and of the system. */
  constructor(connectMs: number, certificates: readonly string[], environment: NodeJS.ProcessEnv) {
    this.#connectMs = connectMs;
    this.#certificates = certificates;
    this.#environment = environment;
  }

  /** Throws InvalidArgument if the environment names an invalid proxy. */
  dispatcher({ url, zone, tls }: Route): Dispatcher {
    const proxy = proxyFor(url, this.#environment);
    const key = `${proxy?.href ?? zone ?? ''} ${url.protocol === 'https:' ? (tls?.id ?? '') : ''}`;
    const known = this.#dispatchers.get(key);
    if (known !== undefined) return known;
    const made =
      proxy === undefined
        ? new Agent({ ...agentOptions, connect: prepared(this.#connector(zone, tls)) })
        : this.#proxied(proxy, tls);
    this.#dispatchers.set(key, made);
    const [oldest] = this.#dispatchers;
    if (this.#dispatchers.size > maxDispatchers && oldest !== undefined) {
      this.#dispatchers.delete(oldest[0]);
      void oldest[1].close();
    }
    return made;
  }

  /** `host:port` of the proxy for requests to a URL; undefined if there is none that can be used. */
  proxyOf(url: URL): string | undefined {
    try {
      return proxyFor(url, this.#environment)?.host;
    } catch {
      return undefined;
    }
  }

  /**
   * The zone of a host that was connected to. A name is in a special zone only if all addresses that it ever had are
   * there. So its owner cannot move it there to open the way for a redirect.
   */
  zoneOf(hostname: string): Zone {
    return this.#zones.get(hostname) ?? zoneOf(hostname);
  }

  /** Ends all connections, even those in use. */
  async close(): Promise<void> {
    await Promise.all(Array.from(this.#dispatchers.values(), (dispatcher) => dispatcher.destroy()));
  }

  /** Prepares TLS only when the first https URL comes: reading the system's certificates takes tens of milliseconds. */
  #connector(zone: Zone | undefined, tls: EndpointTls | undefined): buildConnector.connector {
    const common = { timeout: this.#connectMs, lookup: zone === undefined ? this.#noting : guardedLookup(zone) };
    const plain = buildConnector(common);
    let secure: buildConnector.connector | undefined;
    return (options, callback) => {
      if (options.protocol !== 'https:') return plain(options, callback);
      secure ??= buildConnector({ ...common, ...this.#tlsOptions(tls), allowH2: true });
      secure(options, callback);
    };
  }

  #proxied(proxy: URL, tls: EndpointTls | undefined): Dispatcher {
    const timeout = this.#connectMs;
    return new ProxyAgent({
      ...agentOptions,
      uri: proxy.href,
      connectTimeout: timeout,
      requestTls: { ...this.#tlsOptions(tls), timeout, allowH2: true },
      proxyTls: { ...this.#tlsOptions(undefined), timeout },
      clientFactory: (origin, options) => new Pool(origin, { ...options, headersTimeout: timeout }),
      factory: (origin, options) => {
        const { connect, ...others } = options as Pool.Options & { connect: buildConnector.connector };
        return new Pool(origin, { ...agentOptions, ...others, connect: prepared(connect) });
      },
    });
  }

  #tlsOptions(tls: EndpointTls | undefined): { secureContext: SecureContext; rejectUnauthorized?: false } {
    const secureContext = this.#context(tls);
    return tls?.skipVerify ? { secureContext, rejectUnauthorized: false } : { secureContext };
  }

  #context(tls: EndpointTls | undefined): SecureContext {
    const authorities = (more: readonly string[]): string[] => [
      ...new Set([...getCACertificates('default'), ...getCACertificates('system'), ...this.#certificates, ...more]),
    ];
    if (tls === undefined) return (this.#commonContext ??= createSecureContext({ ca: authorities([]) }));
    let context = this.#contexts.get(tls);
    if (context === undefined) {
      const { clients } = tls;
      const own =
        clients.length === 0 ? {} : { cert: clients.map(({ cert }) => cert), key: clients.map(({ key }) => key) };
      context = createSecureContext({ ca: authorities(tls.authorities), ...own });
      this.#contexts.set(tls, context);
    }
    return context;
  }

  /** dns.lookup that remembers the zone of a name. */
  readonly #noting = (hostname: string, options: LookupOptions, callback: LookupCallback): void => {
    sharedLookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, []);
      const zones = new Set(addresses.map(({ address }) => zoneOf(address)));
      const [zone = 'anywhere'] = zones;
      const before = this.#zones.get(hostname) ?? zone;
      if (this.#zones.size < maxNames || this.#zones.has(hostname))
        this.#zones.set(hostname, zones.size === 1 && before === zone ? zone : 'anywhere');
      answer(addresses, options, callback);
    });
  };
}

/**
 * A connector whose connections skip informational answers, and end with their first error. After a TLS alert that
 * follows the handshake (in TLS 1.3, the server's verdict on our certificate) Node leaves the socket open, and undici
 * would send all later requests into the dead HTTP/2 session on it.
 */
function prepared(connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) => {
    connect(options, (...[error, socket]) => {
      if (error !== null) return callback(error, null);
      socket.once('error', () => socket.destroy());
      if (!('alpnProtocol' in socket && socket.alpnProtocol === 'h2')) skipInformational(socket);
      callback(null, socket);
    });
  };
}

type LookupCallback = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void;
type Lookup = (hostname: string, options: LookupOptions, callback: LookupCallback) => void;

/**
 * dns.lookup that hides the addresses of all special zones except `zone`. So neither a redirect nor a stranger's
 * registry can be a name that resolves to a metadata service.
 */
function guardedLookup(zone: Zone): Lookup {
  return (hostname, options, callback) => {
    sharedLookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, []);
      const allowed = addresses.filter(({ address }) => ['anywhere', zone].includes(zoneOf(address)));
      if (allowed.length > 0) return answer(allowed, options, callback);
      const refused = new Error(`refused to go to "${hostname}": it is this machine or link-local`);
      callback(Object.assign(refused, { code: 'EACCES' }), []);
    });
  };
}

function answer(addresses: LookupAddress[], options: LookupOptions, callback: LookupCallback): void {
  const [first] = addresses;
  if (options.all || first === undefined) return callback(null, addresses);
  callback(null, first.address, first.family);
}

import { LazypullError } from '../errors.ts';
import { isLoopback } from './addresses.ts';

/** Mirrors and time-outs, with the names of `[resolver]` in config.toml, so that the section can be passed as it is. */
export interface HostsConfig {
  readonly request_timeout_sec?: number | undefined;
  readonly host?: Readonly<Record<string, { readonly mirrors?: readonly MirrorConfig[] | undefined }>> | undefined;
}

/** One `[[resolver.host."x".mirrors]]`. `host` may carry a path, which then comes between `/v2/` and the repository. */
export interface MirrorConfig {
  readonly host: string;
  /** Plain HTTP. */
  readonly insecure?: boolean | undefined;
  readonly header?: Readonly<Record<string, string | readonly string[]>> | undefined;
  /** How long to wait for the head of an answer; negative for as long as the program ever waits. */
  readonly request_timeout_sec?: number | undefined;
}

/** A server that answers for a registry host: the origin itself or a mirror. */
export interface Endpoint {
  /** `https://registry-1.docker.io/v2/`; repository paths are appended. */
  readonly base: string;
  /** Scheme, host and port of `base`: credentials and `headers` go nowhere else. */
  readonly origin: string;
  /** The name under which credentials for this server are kept: `docker.io`, `localhost:5000`, … */
  readonly host: string;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly headersMs: number | undefined;
  /** The registry that a mirror stands for, sent as `?ns=`; undefined for the origin. */
  readonly namespace: string | undefined;
}

/** Where the names of docker.io's images are served. */
const addressOf = new Map([['docker.io', 'registry-1.docker.io']]);

/** "No time-out" in the configuration still ends. */
const maxHeadersMs = 600_000;

/** Which servers answer for a registry host, and which of them may be spoken to in plain HTTP. */
export class Hosts {
  readonly #config: HostsConfig;
  readonly #mirrors: ReadonlySet<string>;
  readonly #insecure: ReadonlySet<string>;

  constructor(config: HostsConfig = {}) {
    this.#config = config;
    const mirrors = Object.values(config.host ?? {}).flatMap((host) => host.mirrors ?? []);
    this.#mirrors = new Set(mirrors.map((mirror) => splitMirror(mirror).host));
    this.#insecure = new Set(mirrors.filter((mirror) => mirror.insecure).map((mirror) => splitMirror(mirror).host));
  }

  /**
   * The servers to ask, in order: the mirrors of `host`, then the origin. A mirror that names the host itself stands in for the origin:
   * that is how a registry in plain HTTP is configured. Throws InvalidArgument where a mirror's host cannot be part of a URL.
   */
  endpoints(host: string): Endpoint[] {
    const mirrors = this.#config.host?.[host]?.mirrors ?? [];
    const endpoints = mirrors.map((mirror) => this.#mirror(host, mirror));
    if (!endpoints.some((endpoint) => endpoint.host === host)) endpoints.push(this.#default(host));
    return endpoints;
  }

  /** The server that takes pushes to `host`: the origin, never a mirror. */
  origin(host: string): Endpoint {
    return this.endpoints(host).find((endpoint) => endpoint.host === host) ?? this.#default(host);
  }

  /** Whether a URL's host is one of the mirrors. */
  isMirror(url: URL): boolean {
    return this.#mirrors.has(url.host);
  }

  /** Whether a URL that a server named may be followed in plain HTTP. */
  allowsPlainHttp(url: URL): boolean {
    return isLoopback(url.hostname) || this.#insecure.has(url.host);
  }

  #default(host: string): Endpoint {
    const address = addressOf.get(host) ?? host;
    const scheme = isLoopback(hostnameOf(address)) ? 'http' : 'https';
    return this.#endpoint(`${scheme}://${address}/v2/`, host, {}, this.#config.request_timeout_sec, undefined);
  }

  #mirror(host: string, mirror: MirrorConfig): Endpoint {
    const { scheme, host: name, path } = splitMirror(mirror);
    const plain = mirror.insecure || scheme === 'http' || (scheme === undefined && isLoopback(hostnameOf(name)));
    const headers = Object.entries(mirror.header ?? {}).map(([key, value]) => [
      key.toLowerCase(),
      typeof value === 'string' ? value : [...value],
    ]);
    const seconds = mirror.request_timeout_sec ?? this.#config.request_timeout_sec;
    const base = `${plain ? 'http' : 'https'}://${name}/v2/${path}`;
    return this.#endpoint(base, name, Object.fromEntries(headers), seconds, name === host ? undefined : host);
  }

  #endpoint(
    base: string,
    host: string,
    headers: Endpoint['headers'],
    seconds: number | undefined,
    namespace: string | undefined,
  ): Endpoint {
    if (host === '' || !URL.canParse(base)) {
      throw new LazypullError(
        'InvalidArgument',
        `Cannot ask the registry "${host}": it is not a host name with an optional port`,
      );
    }
    const url = new URL(base);
    return { base: url.href, origin: url.origin, host, headers, headersMs: headersMsOf(seconds), namespace };
  }
}

/** Seconds as the configuration has them: 0 and undefined for the default of the program, negative for the longest. */
function headersMsOf(seconds: number | undefined): number | undefined {
  if (seconds === undefined || seconds === 0) return undefined;
  return seconds < 0 ? maxHeadersMs : Math.min(seconds * 1000, maxHeadersMs);
}

function splitMirror(mirror: MirrorConfig): { scheme: string | undefined; host: string; path: string } {
  const match = /^(?:(https?):\/\/)?([^/]*)\/?(.*?)\/?$/s.exec(mirror.host);
  const [, scheme, host = '', path = ''] = match ?? [];
  return { scheme, host, path: path === '' ? '' : `${path}/` };
}

function hostnameOf(host: string): string {
  return URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : host;
}

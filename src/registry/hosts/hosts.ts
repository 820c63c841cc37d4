import { LazypullError } from '../../errors.ts';
import { isLoopback, type Zone, zoneOf } from './addresses.ts';
import type { Capability, Headers } from './host-entry.ts';
import { inScheme, type Scheme, Schemes } from './schemes.ts';
import { anyCertificate, type EndpointTls } from '../http/tls.ts';

/** Mirrors and time-outs, with the names of `[resolver]` in config.toml, so that the section can be passed as it is. */
export interface HostsConfig {
  readonly request_timeout_sec?: number | undefined;
  /**
   * Directories with a `<host>/hosts.toml` for each registry, as containerd has them, separated by colons. If `host`
   * names the registry, they are not read.
   */
  readonly config_path?: string | undefined;
  readonly host?: Readonly<Record<string, { readonly mirrors?: readonly MirrorConfig[] | undefined }>> | undefined;
}

/** One `[[resolver.host."x".mirrors]]`. `host` may have a path, which then comes between `/v2/` and the repository. */
export interface MirrorConfig {
  readonly host: string;
  /** Plain HTTP. */
  readonly insecure?: boolean | undefined;
  readonly header?: Headers | undefined;
  /** How long to wait for the head of an answer; negative for the program's maximum. */
  readonly request_timeout_sec?: number | undefined;
}

/** A server that answers for a registry host: the origin itself or a mirror. */
export interface Endpoint {
  /** `https://registry-1.docker.io/v2/`; repository paths are appended. */
  readonly base: string;
  /** Scheme, host and port of `base`: credentials and `headers` go nowhere else. */
  readonly origin: string;
  /** The name under which credentials for this server are stored: `docker.io`, `localhost:5000`, … */
  readonly host: string;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly headersMs: number | undefined;
  /** The registry that a mirror stands for, sent as `?ns=`; undefined for the origin. */
  readonly namespace: string | undefined;
  readonly tls?: EndpointTls | undefined;
  /** The zone in which it must be; undefined for any zone, if the configuration or a trusted client named it. */
  readonly zone?: Zone | undefined;
  /**
   * Whether another server named it, and any server on the way could answer in its name: no credentials are sent there.
   */
  readonly isOpen?: boolean | undefined;
  /** Undefined for all of them. */
  readonly capabilities?: ReadonlySet<Capability> | undefined;
}

/** The servers of docker.io's images. */
const addressOf = new Map([['docker.io', 'registry-1.docker.io']]);

const nameOf = new Map([...addressOf].map(([name, address]) => [address, name]));

/** Even "no time-out" in the configuration ends. */
const maxHeadersMs = 600_000;

/** Decides which servers answer for a registry host, and which of them may use plain HTTP. */
export class Hosts {
  readonly #config: HostsConfig;
  /** Hosts of the configuration files that were read so far. */
  readonly #named = new Set<string>();
  readonly #insecure = new Set<string>();
  readonly #isOwn: (origin: URL) => boolean;
  /** What is just being read of `config_path`, by host. */
  readonly #reading = new Map<string, Promise<Endpoint[] | undefined>>();
  /** For registries of this machine, whose scheme may be either. */
  readonly schemes = new Schemes();

  /** @param isOwn whether a URL leads to this process itself, which is never asked */
  constructor(config: HostsConfig = {}, isOwn: (origin: URL) => boolean = () => false) {
    this.#config = config;
    this.#isOwn = isOwn;
    for (const mirror of Object.values(config.host ?? {}).flatMap((host) => host.mirrors ?? [])) {
      const { host } = splitMirror(mirror);
      this.#named.add(host);
      if (mirror.insecure) this.#insecure.add(host);
    }
  }

  /**
   * The servers to ask, in order: the mirrors of `host`, then the origin. A mirror that names the host itself replaces
   * the origin: that is how a registry in plain HTTP is configured. The files of `config_path` are read at each call.
   * Throws InvalidArgument if a mirror's host cannot be part of a URL, and FailedPrecondition if a hosts.toml is wrong.
   */
  async endpoints(host: string, capability: Capability = 'pull'): Promise<Endpoint[]> {
    const others = (await this.#all(host)).filter(({ origin }) => !this.#isOwn(new URL(origin)));
    const able = (others.length > 0 ? others : [this.#default(host)]).filter(
      ({ capabilities }) => capabilities?.has(capability) ?? true,
    );
    if (able.length > 0) return able;
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot ask "${host}": no server of its hosts.toml can "${capability}"`,
    );
  }

  /**
   * The servers for a `host` that was named by a client without trust. What this machine can reach must stay out of its
   * reach. So a host that the configuration does not name is asked only at the zone of its name, and no other name
   * leads to this machine. Throws PermissionDenied for link-local addresses.
   */
  async guardedEndpoints(host: string, capability: Capability): Promise<Endpoint[]> {
    return (await this.endpoints(host, capability)).map((endpoint) => {
      const url = new URL(endpoint.origin);
      if (this.names(url)) return endpoint;
      const zone = zoneOf(url.hostname);
      if (zone !== 'link-local') return { ...endpoint, zone };
      throw new LazypullError('PermissionDenied', `Refused to ask "${host}": it is a link-local address`);
    });
  }

  /** The server that takes pushes to `host`: the origin, or the first that hosts.toml has for that. */
  async origin(host: string): Promise<Endpoint> {
    const endpoints = await this.endpoints(host, 'push');
    if (this.#config.host?.[host] === undefined) return endpoints[0]!;
    return endpoints.find((endpoint) => endpoint.host === host) ?? this.#default(host);
  }

  /** Whether the configuration names the host of a URL: then it may be in any zone. */
  names(url: URL): boolean {
    return this.#named.has(url.host);
  }

  /**
   * A server to which an endpoint redirected, with its own name for credentials and without the endpoint's settings.
   */
  elsewhere(url: URL, { headersMs }: Endpoint): Endpoint {
    const server = this.#server(`${url.origin}/v2/`, nameOf.get(url.host) ?? url.host, {}, headersMs, undefined);
    return { ...server, isOpen: url.protocol === 'http:' && !this.allowsPlainHttp(url) };
  }

  /** Whether a URL that a server named may be followed in plain HTTP. */
  allowsPlainHttp(url: URL): boolean {
    return isLoopback(url.hostname) || this.#insecure.has(url.host);
  }

  async #all(host: string): Promise<Endpoint[]> {
    const mirrors = this.#config.host?.[host]?.mirrors;
    if (mirrors === undefined) return (await this.#fromDirectory(host)) ?? [this.#default(host)];
    const endpoints = mirrors.map((mirror) => this.#mirror(host, mirror));
    if (!endpoints.some((endpoint) => endpoint.host === host)) endpoints.push(this.#default(host));
    return endpoints;
  }

  /** As `#readDirectory`; the layers of an image are asked for at the same time, and read the files once. */
  #fromDirectory(host: string): Promise<Endpoint[] | undefined> {
    let reading = this.#reading.get(host);
    if (reading === undefined) {
      reading = this.#readDirectory(host).finally(() => this.#reading.delete(host));
      this.#reading.set(host, reading);
    }
    return reading;
  }

  async #readDirectory(host: string): Promise<Endpoint[] | undefined> {
    const directories = this.#config.config_path?.split(':').filter(Boolean) ?? [];
    if (directories.length === 0) return undefined;
    const { findHostDirectory } = await import('./host-directory.ts');
    const directory = await findHostDirectory(directories, host);
    if (directory === undefined) return undefined;
    // The parser of TOML is loaded only if there is a file.
    const { readHostDirectory } = await import('./hosts-file.ts');
    const origin = new URL(this.#implied(host).base);
    const entries = await readHostDirectory(directory, origin);
    return entries.map(({ url, headers, tls, capabilities, isNamed }) => {
      url.host = addressOf.get(url.host) ?? url.host;
      this.#named.add(url.host);
      if (url.protocol === 'http:') this.#insecure.add(url.host);
      const isOrigin = url.host === host || url.host === addressOf.get(host);
      const endpoint = this.#endpoint(
        url.href,
        isOrigin ? host : url.host,
        headers,
        undefined,
        isOrigin ? undefined : host,
      );
      const implied = { ...endpoint, tls, capabilities };
      if (isNamed) this.schemes.keep(url.host);
      if (isNamed || !mayBeEither(host)) return implied;
      this.schemes.guess(host);
      return tls === undefined ? implied : inScheme(implied, 'https'); // TLS was configured
    });
  }

  #default(host: string): Endpoint {
    if (mayBeEither(host)) this.schemes.guess(host);
    return this.#implied(host);
  }

  /** The registry itself, without configuration. */
  #implied(host: string): Endpoint {
    const address = addressOf.get(host) ?? host;
    const endpoint = this.#endpoint(`${impliedScheme(address)}://${address}/v2/`, host, {}, undefined, undefined);
    return mayBeEither(host) && endpoint.origin.startsWith('https:') ? { ...endpoint, tls: anyCertificate } : endpoint;
  }

  #mirror(host: string, mirror: MirrorConfig): Endpoint {
    const { scheme, host: name, path } = splitMirror(mirror);
    const base = `${mirror.insecure ? 'http' : (scheme ?? impliedScheme(name))}://${name}/v2/${path}`;
    if (!mirror.insecure && scheme === undefined && mayBeEither(name)) this.schemes.guess(name);
    return this.#endpoint(
      base,
      name,
      mirror.header ?? {},
      mirror.request_timeout_sec,
      name === host ? undefined : host,
    );
  }

  #endpoint(
    base: string,
    host: string,
    headers: Headers,
    seconds: number | undefined,
    namespace: string | undefined,
  ): Endpoint {
    if (host === '' || !URL.canParse(base) || !hasOnlyPlace(new URL(base))) {
      throw new LazypullError(
        'InvalidArgument',
        `Cannot ask the registry "${host}": it is not a host name with an optional port`,
      );
    }
    return this.#server(base, host, headers, headersMsOf(seconds ?? this.#config.request_timeout_sec), namespace);
  }

  #server(
    base: string,
    host: string,
    headers: Headers,
    headersMs: number | undefined,
    namespace: string | undefined,
  ): Endpoint {
    const url = new URL(base);
    const lowered = Object.entries(headers).map(([key, value]) => [
      key.toLowerCase(),
      typeof value === 'string' ? value : value.length === 1 ? value[0]! : [...value],
    ]);
    return { base: url.href, origin: url.origin, host, headers: Object.fromEntries(lowered), headersMs, namespace };
  }
}

/** Whether a URL has only a scheme, a host and a path. `#` and `?` in a host would send requests elsewhere. */
function hasOnlyPlace({ username, password, search, hash }: URL): boolean {
  return [username, password, search, hash].every((part) => part === '');
}

/** Seconds of the configuration: 0 and undefined for the program's default, negative for the maximum. */
function headersMsOf(seconds: number | undefined): number | undefined {
  if (seconds === undefined || seconds === 0) return undefined;
  return seconds < 0 ? maxHeadersMs : Math.min(seconds * 1000, maxHeadersMs);
}

function splitMirror(mirror: MirrorConfig): { scheme: string | undefined; host: string; path: string } {
  const match = /^(?:(https?):\/\/)?([^/]*)\/?(.*?)\/?$/s.exec(mirror.host);
  const [, scheme, host = '', path = ''] = match ?? [];
  return { scheme, host, path: path === '' ? '' : `${path}/` };
}

/** The first scheme to try for a registry without a configured one. */
function impliedScheme(host: string): Scheme {
  return isLoopback(hostnameOf(host)) && !host.endsWith(':443') ? 'http' : 'https';
}

/** Whether a registry of that name may speak HTTP or HTTPS: one of this machine, unless its port decides. */
function mayBeEither(host: string): boolean {
  return isLoopback(hostnameOf(host)) && !host.endsWith(':80');
}

function hostnameOf(host: string): string {
  return URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : host;
}

import type { EndpointTls } from '../http/tls.ts';

export type Headers = Readonly<Record<string, string | readonly string[]>>;

/** What a server may be used for: blobs and manifests by digest, manifests by tag, uploads. */
export type Capability = 'pull' | 'resolve' | 'push';

/** A server as hosts.toml describes it. */
export interface HostEntry {
  /** With the scheme and the path of the distribution API. */
  readonly url: URL;
  readonly headers: Headers;
  readonly tls: EndpointTls | undefined;
  readonly capabilities: ReadonlySet<Capability> | undefined;
  /** Whether the file names the server, and so its scheme. */
  readonly isNamed: boolean;
}

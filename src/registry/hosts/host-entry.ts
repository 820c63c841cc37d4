import type { EndpointTls } from '../http/tls.ts';

export type Headers = Readonly<Record<string, string | readonly string[]>>;

/** What a server may be asked for: blobs and manifests by digest, manifests by tag, uploads. */
export type Capability = 'pull' | 'resolve' | 'push';

/** A server as hosts.toml describes it. */
export interface HostEntry {
  /** With the scheme and the path of the distribution API. */
  readonly url: URL;
  readonly headers: Headers;
  readonly tls: EndpointTls | undefined;
  readonly capabilities: ReadonlySet<Capability> | undefined;
  /** Whether the file says where the server is, and so which scheme it speaks. */
  readonly isNamed: boolean;
}

/**
 * The client of OCI registries: reads what a reference names, from whichever server has it. It knows HTTP, hosts.toml
 * and credentials, and nothing about layers or the meaning of bytes.
 *
 * Begin here with `RegistryClient`. `blob/remote-blob.ts` reads ranges of a blob, `http/requester.ts` sends one request
 * with authorization and redirects, `http/retry.ts` decides what is tried again, `hosts/mirrors.ts` which server is
 * asked next.
 */

import type { Readable } from 'node:stream';
import { type Log, silentLog } from '../log.ts';
import { Authorizer } from './auth/auth.ts';
import type { Blob } from './blob/blob.ts';
import { BlobLocation } from './blob/blob-location.ts';
import { collect, discard } from './http/body.ts';
import type { CredentialSource, Labels } from './auth/credentials/credential-source.ts';
import { answerError, RegistryError } from './errors.ts';
import type { Capability } from './hosts/host-entry.ts';
import { type Endpoint, Hosts, type HostsConfig } from './hosts/hosts.ts';
import type { RegistryMetrics } from './metrics.ts';
import { Mirrors } from './hosts/mirrors.ts';
import { Pusher } from './blob/push.ts';
import { parseContentLength } from './blob/ranges.ts';
import { defaultTag, isDigest, type Reference } from './reference.ts';
import { digestOf, embeddedMediaType, mediaTypeOf, nextPage, requireDigest } from './answer-content.ts';
import { headerOf } from './refused-answer.ts';
import { type BlobContext, RemoteBlob } from './blob/remote-blob.ts';
import { Requester } from './http/requester.ts';
import { defaultRetryPolicy, type RetryPolicy, retrying, Tries } from './http/retry.ts';
import { pullScope } from './auth/scopes.ts';
import { ServerHealth } from './hosts/server-health.ts';
import { TokenFetcher } from './auth/token.ts';
import { type Answer, type Counters, defaultTimeouts, type Timeouts, Transport } from './http/transport.ts';

/** The options of a client; everything but the credentials has a good default. */
export interface RegistryClientOptions {
  /** The sources of credentials, in order: `credentialSources()` for all; none by default. */
  readonly credentials?: readonly CredentialSource[];
  /** Mirrors and time-outs: `[resolver]` of config.toml. */
  readonly hosts?: HostsConfig;
  readonly log?: Log;
  readonly retry?: Partial<RetryPolicy>;
  readonly timeouts?: Partial<Timeouts>;
  /** Certificate authorities in PEM to trust in addition to those of Node and of the system. */
  readonly certificates?: readonly string[];
  /** The environment that names proxies; by default that of the process. */
  readonly environment?: NodeJS.ProcessEnv;
  readonly metrics?: RegistryMetrics;
  /** Whether a URL leads to this process itself, as a mirror in hosts.toml may: it is never asked. */
  readonly isOwn?: (origin: URL) => boolean;
  /** Is called for each request without an answer for some seconds. */
  readonly onSilence?: (url: URL) => void;
}

/**
 * The origin of a registry's name: the operator of this machine, or a client with the same trust; or a stranger. For a
 * stranger, no address that only this machine can reach is asked under another name.
 */
export type NamedBy = 'operator' | 'stranger';

/** A manifest or index as the registry has it. */
export interface Manifest {
  readonly mediaType: string;
  /** sha256 of `bytes`, or the digest of the reference; `bytes` were verified against it. */
  readonly digest: string;
  readonly bytes: Buffer;
}

/** What a registry tells about a manifest without sending it. */
export interface ManifestHead {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Content to push: its sha256 digest and its size in bytes. */
export interface PushedBlob {
  readonly digest: string;
  readonly size: number;
}

/** What clients share that differ in the labels for which they ask. */
interface ClientParts {
  readonly hosts: Hosts;
  readonly transport: Transport;
  readonly requester: Requester;
  readonly policy: RetryPolicy;
  readonly log: Log;
  readonly mirrors: Mirrors;
  readonly blobs: BlobContext;
}

const maxManifestBytes = 4 * 1024 * 1024;

const indexType = 'application/vnd.oci.image.index.v1+json';

/** Of a list of what is attached to an image. What is on further pages is left out. */
const maxReferrerPages = 32;
const maxReferrersBytes = 16 * 1024 * 1024;

/** Error classes of registries that do not know the list of referrers. */
const withoutReferrers: ReadonlySet<string> = new Set(['NotFound', 'Unimplemented', 'FailedPrecondition']);

const manifestTypes = [
  indexType,
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];

/**
 * A client of OCI registries (https://github.com/opencontainers/distribution-spec/blob/main/spec.md). One client serves
 * a whole process: it keeps connections and tokens. Its errors are LazypullErrors: Unauthenticated (401),
 * PermissionDenied (403), NotFound (404), ResourceExhausted (429), Unavailable (network, 5xx), FailedPrecondition (a
 * server that cannot do what is asked), DataLoss (content that contradicts its digest or size), Canceled and
 * DeadlineExceeded.
 */
export class RegistryClient implements AsyncDisposable {
  readonly #parts: ClientParts;
  readonly #hosts: Hosts;
  readonly #transport: Transport;
  readonly #requester: Requester;
  readonly #policy: RetryPolicy;
  readonly #log: Log;
  readonly #mirrors: Mirrors;
  readonly #blobs: BlobContext;
  readonly #pusher: Pusher;

  /** @param parts those of another client, by default new ones */
  constructor(options: RegistryClientOptions = {}, parts = partsOf(options)) {
    this.#parts = parts;
    this.#hosts = parts.hosts;
    this.#transport = parts.transport;
    this.#requester = parts.requester;
    this.#policy = parts.policy;
    this.#log = parts.log;
    this.#mirrors = parts.mirrors;
    this.#blobs = parts.blobs;
    this.#pusher = new Pusher(parts.requester, parts.hosts, parts.policy, parts.log);
  }

  /**
   * The same client for what is asked for a snapshot: sources of credentials are given its labels. All else is shared,
   * and ends with this one.
   */
  withLabels(labels: Labels): RegistryClient {
    return new RegistryClient({}, { ...this.#parts, requester: this.#requester.withLabels(labels) });
  }

  /** Requests sent and bytes of bodies received since the client was made. */
  get counters(): Readonly<Counters> {
    return this.#transport.counters;
  }

  /**
   * A blob of the reference's repository; no request is sent before its first read. Throws InvalidArgument if `digest`
   * is not a digest.
   */
  blob(reference: Reference, digest: string, namedBy: NamedBy = 'operator'): Blob {
    requireDigest(digest);
    const endpoints = (): Promise<Endpoint[]> => this.#endpoints(reference, 'pull', namedBy);
    const location = new BlobLocation(this.#requester, this.#mirrors, endpoints, reference.repository, digest);
    return new RemoteBlob(this.#blobs, location, digest);
  }

  /**
   * The manifest or index of the reference: by its digest, verified, else by its tag, else by `latest`. At most 4 MiB.
   * `accept` are media types, by default OCI's and Docker's manifests and indexes. Mirrors are asked before the origin.
   */
  async manifest(
    reference: Reference,
    accept: readonly string[] = manifestTypes,
    signal?: AbortSignal,
    namedBy: NamedBy = 'operator',
  ): Promise<Manifest> {
    const tries = new Tries(this.#policy, this.#log, signal, maxManifestBytes);
    return this.#firstOf(reference, namedBy, tries, signal, (endpoint, stop) =>
      this.#manifestFrom(endpoint, reference, accept, tries, stop),
    );
  }

  /**
   * What the registry tells about the manifest or index that `manifest` would give; undefined if it does not tell
   * everything. Nothing of it is verified.
   */
  async manifestHead(
    reference: Reference,
    accept: readonly string[] = manifestTypes,
    signal?: AbortSignal,
    namedBy: NamedBy = 'operator',
  ): Promise<ManifestHead | undefined> {
    const tries = new Tries(this.#policy, this.#log, signal);
    return this.#firstOf(reference, namedBy, tries, signal, async (endpoint, stop) => {
      const answer = await this.#askManifest('HEAD', endpoint, reference, accept, stop);
      discard(answer);
      const digest = headerOf(answer, 'docker-content-digest') ?? '';
      const mediaType = mediaTypeOf(answer);
      const size = parseContentLength(headerOf(answer, 'content-length'));
      const isRight = isDigest(digest) && (reference.digest ?? digest) === digest;
      return isRight && mediaType && size !== undefined && size > 0 && size <= maxManifestBytes
        ? { mediaType, digest, size }
        : undefined;
    });
  }

  /**
   * The indexes of everything that is attached to the manifest with the reference's digest (distribution spec, "Listing
   * Referrers"): the pages of the registry's API, else the index under the fallback tag. They may have more than
   * `artifactType`.
   *
   * @throws NotFound if the registry has neither
   */
  async referrers(
    reference: Reference & { readonly digest: string },
    artifactType: string,
    signal?: AbortSignal,
  ): Promise<Buffer[]> {
    const { host, repository, digest } = reference;
    requireDigest(digest);
    const tries = new Tries(this.#policy, this.#log, signal, maxReferrersBytes);
    try {
      return await this.#firstOf(reference, 'operator', tries, signal, async (endpoint, stop) => {
        const pages: Buffer[] = [];
        let left = maxReferrersBytes;
        const first = new URL(`${endpoint.base}${repository}/referrers/${digest}`);
        first.searchParams.set('artifactType', artifactType);
        for (let url: URL | undefined = first; url !== undefined; ) {
          const answer = await this.#ask('GET', endpoint, url, reference, [indexType], stop);
          const page = await collect(answer, Math.min(left, maxManifestBytes), tries, this.#transport.counters);
          left -= page.length;
          const next: URL | undefined = nextPage(headerOf(answer, 'link'), url);
          if (pages.push(page) === maxReferrerPages || next?.href === url.href) break;
          url = next;
        }
        return pages;
      });
    } catch (error) {
      if (!(error instanceof RegistryError) || !withoutReferrers.has(error.code)) throw error;
      return [(await this.manifest({ host, repository, tag: digest.replace(':', '-') }, [indexType], signal)).bytes];
    }
  }

  /**
   * Opens connections to the server that is asked first for what a reference names, and learns by what it wants to be
   * convinced, so that later requests need not wait for that. Over HTTP/2 one connection does for all.
   *
   * @param connections at most 16
   */
  async open(reference: Reference, connections: number, signal?: AbortSignal): Promise<void> {
    const [endpoint] = this.#mirrors.inOrder(await this.#endpoints(reference, 'resolve', 'operator'));
    const scope = pullScope(reference.repository);
    const url = new URL(endpoint!.base);
    const ask = async (): Promise<void> =>
      discard(await this.#requester.send(endpoint!, { method: 'GET', url, scope, signal }));
    await ask();
    await Promise.all(Array.from({ length: connections - 1 }, ask));
  }

  /** Whether the reference's repository has the blob. */
  blobExists(reference: Reference, digest: string, signal?: AbortSignal): Promise<boolean> {
    requireDigest(digest);
    return this.#pusher.blobExists(reference, digest, signal);
  }

  /**
   * Uploads a blob in one piece (POST, PUT). `content` is the bytes, or makes a stream of them, once for each try.
   * `from` names a repository of the same registry that may have the blob already: the registry is asked to mount it,
   * and nothing is sent if it does.
   */
  pushBlob(
    reference: Reference,
    blob: PushedBlob,
    content: Uint8Array | (() => Readable),
    from?: string,
    signal?: AbortSignal,
  ): Promise<void> {
    requireDigest(blob.digest);
    return this.#pusher.pushBlob(reference, blob, content, from, signal);
  }

  /** Begins an upload to the reference's repository, and gives it up. Throws what says why a push would fail. */
  tryPush(reference: Reference, signal?: AbortSignal): Promise<void> {
    return this.#pusher.tryPush(reference, signal);
  }

  /** Uploads a manifest under the reference's digest, else its tag, else `latest`. Resolves to its sha256 digest. */
  pushManifest(reference: Reference, mediaType: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string> {
    return this.#pusher.pushManifest(reference, mediaType, bytes, signal);
  }

  /** Ends all connections; requests under way fail. */
  close(): Promise<void> {
    return this.#transport.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #endpoints({ host }: Reference, capability: Capability, namedBy: NamedBy): Promise<Endpoint[]> {
    return namedBy === 'operator'
      ? this.#hosts.endpoints(host, capability)
      : this.#hosts.guardedEndpoints(host, capability);
  }

  /** Asks the servers for a manifest until one has it. */
  async #firstOf<T>(
    reference: Reference,
    namedBy: NamedBy,
    tries: Tries,
    signal: AbortSignal | undefined,
    ask: (endpoint: Endpoint, stop: AbortSignal | undefined) => Promise<T>,
  ): Promise<T> {
    const capability = reference.digest === undefined ? 'resolve' : 'pull';
    const endpoints = await this.#endpoints(reference, capability, namedBy);
    return retrying(tries, () => this.#mirrors.first(this.#mirrors.inOrder(endpoints), ask, () => {}, signal));
  }

  async #manifestFrom(
    endpoint: Endpoint,
    reference: Reference,
    accept: readonly string[],
    tries: Tries,
    signal: AbortSignal | undefined,
  ): Promise<Manifest> {
    const answer = await this.#askManifest('GET', endpoint, reference, accept, signal);
    const bytes = await collect(answer, maxManifestBytes, tries, this.#transport.counters);
    const digest = reference.digest ?? digestOf('sha256', bytes);
    if (digestOf(digest.slice(0, digest.indexOf(':')), bytes) !== digest) {
      throw answerError(answer, `the manifest does not have the digest "${digest}"`, 'DataLoss');
    }
    const mediaType = embeddedMediaType(bytes) ?? mediaTypeOf(answer);
    if (!mediaType) throw answerError(answer, 'the manifest has no media type', 'DataLoss');
    return { mediaType, digest, bytes };
  }

  #askManifest(
    method: 'GET' | 'HEAD',
    endpoint: Endpoint,
    reference: Reference,
    accept: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    const url = new URL(
      `${endpoint.base}${reference.repository}/manifests/${reference.digest ?? reference.tag ?? defaultTag}`,
    );
    return this.#ask(method, endpoint, url, reference, accept, signal);
  }

  /** An answer of 200 to a question that is about a repository. */
  async #ask(
    method: 'GET' | 'HEAD',
    endpoint: Endpoint,
    url: URL,
    reference: Reference,
    accept: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    if (endpoint.namespace !== undefined) url.searchParams.set('ns', endpoint.namespace);
    const scope = pullScope(reference.repository);
    const headers = { accept: accept.join(', ') };
    const answer = await this.#requester.send(endpoint, { method, url, scope, headers, signal });
    if (answer.status === 200) return answer;
    throw await this.#requester.refuse(endpoint, scope, answer);
  }
}

function partsOf(options: RegistryClientOptions): ClientParts {
  const log = options.log ?? silentLog;
  const policy = { ...defaultRetryPolicy, ...options.retry };
  const hosts = new Hosts(options.hosts, options.isOwn);
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  const transport = new Transport(
    timeouts,
    options.certificates ?? [],
    options.environment ?? process.env,
    options.metrics,
    options.onSilence,
  );
  const tokens = new TokenFetcher(transport, hosts, policy, log);
  const authorizer = new Authorizer(options.credentials ?? [], tokens, log);
  const requester = new Requester(transport, authorizer, hosts, log);
  const mirrors = new Mirrors(new ServerHealth(), timeouts.patienceMs, log);
  const { counters } = transport;
  const blobs = { policy, log, counters, suffixRefusers: new Set<string>(), severalRefusers: new Set<string>() };
  return { hosts, transport, requester, policy, log, mirrors, blobs };
}

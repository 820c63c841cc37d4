import { discard } from '../http/body.ts';
import { RegistryError } from '../errors.ts';
import type { Endpoint } from '../hosts/hosts.ts';
import type { Mirrors } from '../hosts/mirrors.ts';
import type { Requester } from '../http/requester.ts';
import { pullScope } from '../auth/scopes.ts';
import type { Answer } from '../http/transport.ts';

/** Statuses of an expired signed URL; the registry gives a fresh one. */
const expiredStatuses = new Set([400, 401, 403, 404, 410]);

/** How long a server that did not have a blob, or had wrong bytes, is asked for it only after all others. */
const lackingMs = 300_000;

/** The places of one blob: its mirrors and its origin, and the URL to which one of them redirected. */
export class BlobLocation {
  readonly #requester: Requester;
  readonly #mirrors: Mirrors;
  readonly #findEndpoints: () => Promise<readonly Endpoint[]>;
  readonly #path: string;
  readonly #scope: string;
  #endpoints: readonly Endpoint[] = [];
  #isStale = true;
  /** By origin: until when it counts as lacking the blob. */
  readonly #lacking = new Map<string, number>();
  readonly #sources = new WeakMap<Answer, Endpoint>();
  #resolved: { endpoint: Endpoint; url: URL } | undefined;

  constructor(
    requester: Requester,
    mirrors: Mirrors,
    findEndpoints: () => Promise<readonly Endpoint[]>,
    repository: string,
    digest: string,
  ) {
    this.#requester = requester;
    this.#mirrors = mirrors;
    this.#findEndpoints = findEndpoints;
    this.#path = `${repository}/blobs/${digest}`;
    this.#scope = pullScope(repository);
  }

  /** The origin that will probably answer next. Throws if the configuration of the registry's servers is wrong. */
  async likelyOrigin(): Promise<string> {
    const [first] = await this.#inOrder();
    return this.#resolved?.endpoint === first ? this.#resolved!.url.origin : first!.origin;
  }

  /**
   * Asks the URL of the last redirect, else the mirrors and the origin, until one answers 200, 206, 416 or one of
   * `also` to a GET with the Range header `range`.
   */
  async open(range: string, signal: AbortSignal | undefined, also?: ReadonlySet<number>): Promise<Answer> {
    try {
      return await this.#mirrors.first(
        await this.#inOrder(),
        async (endpoint, stop) =>
          (await this.#askResolved(endpoint, range, stop, also)) ?? this.#askEndpoint(endpoint, range, stop, also),
        discard,
        signal,
      );
    } catch (error) {
      this.#isStale = true; // the configuration may be corrected later
      throw error;
    }
  }

  /** Whether a healthy server could be asked instead of the one that gave this answer. */
  hasAnother(answer: Answer): boolean {
    const source = this.#sources.get(answer);
    return this.#endpoints.some((endpoint) => endpoint.origin !== source?.origin && !this.#isLast(endpoint));
  }

  /**
   * Notes that an answer failed after its head, so that other servers are asked first for a while. Returns `error`, to
   * be tried again if there are others.
   */
  blame(answer: Answer, error: unknown): unknown {
    const source = this.#sources.get(answer);
    if (source === undefined || !(error instanceof RegistryError)) return error;
    if (this.#resolved?.url === answer.url) this.#resolved = undefined;
    this.#mirrors.health.failed(source.origin);
    if (error.code === 'DataLoss') this.#lacking.set(source.origin, performance.now() + lackingMs);
    return error.retryable || !this.hasAnother(answer) ? error : error.toBeRetried();
  }

  /** Notes that the first server has wrong bytes. */
  async distrust(): Promise<void> {
    const [first] = await this.#inOrder();
    this.#resolved = undefined;
    this.#lacking.set(first!.origin, performance.now() + lackingMs);
  }

  /** Whether there is a server that is not known to lack the blob. */
  hasUntried(): boolean {
    return this.#endpoints.some((endpoint) => !this.#lacks(endpoint));
  }

  async #inOrder(): Promise<Endpoint[]> {
    if (this.#isStale) this.#endpoints = await this.#findEndpoints();
    this.#isStale = false;
    // Of the servers that lacked it, the one that was asked longest ago comes first: it may have it now.
    const byLack = this.#endpoints.toSorted((a, b) => this.#lackingUntil(a) - this.#lackingUntil(b));
    return this.#mirrors.inOrder(byLack, (endpoint) => this.#lacks(endpoint));
  }

  #isLast(endpoint: Endpoint): boolean {
    return this.#lacks(endpoint) || this.#mirrors.health.isSkipped(endpoint.origin);
  }

  #lacks(endpoint: Endpoint): boolean {
    return this.#lackingUntil(endpoint) > 0;
  }

  /** 0 for a server that is not known to lack the blob. */
  #lackingUntil({ origin }: Endpoint): number {
    const untilMs = this.#lacking.get(origin) ?? 0;
    return untilMs > performance.now() ? untilMs : 0;
  }

  /** Undefined if there is no redirect to remember, or if it has expired. */
  async #askResolved(
    endpoint: Endpoint,
    range: string,
    signal: AbortSignal | undefined,
    also: ReadonlySet<number> | undefined,
  ): Promise<Answer | undefined> {
    const resolved = this.#resolved;
    if (resolved?.endpoint !== endpoint) return undefined;
    try {
      return await this.#ask(endpoint, resolved.url, range, signal, also);
    } catch (error) {
      if (this.#resolved === resolved) this.#resolved = undefined;
      if (error instanceof RegistryError && (!error.retryable || expiredStatuses.has(error.status ?? 0)))
        return undefined;
      throw error;
    }
  }

  async #askEndpoint(
    endpoint: Endpoint,
    range: string,
    signal: AbortSignal | undefined,
    also: ReadonlySet<number> | undefined,
  ): Promise<Answer> {
    const answer = await this.#ask(endpoint, this.#url(endpoint), range, signal, also);
    if (!this.#requester.isAt(endpoint, answer.url)) this.#resolved = { endpoint, url: answer.url };
    return answer;
  }

  async #ask(
    endpoint: Endpoint,
    url: URL,
    range: string,
    signal: AbortSignal | undefined,
    also: ReadonlySet<number> | undefined,
  ): Promise<Answer> {
    const isAlone = this.#endpoints.every((other) => other.origin === endpoint.origin || this.#isLast(other));
    const answer = await this.#requester.send(endpoint, {
      method: 'GET',
      url,
      scope: this.#scope,
      headers: { range },
      bodyIdleMs: isAlone ? undefined : this.#mirrors.patienceMs,
      signal,
    });
    this.#sources.set(answer, endpoint);
    const { status } = answer;
    if (status === 200 || status === 206 || status === 416 || also?.has(status)) return answer;
    if (status < 500 && status !== 429 && this.#requester.isAt(endpoint, url))
      this.#lacking.set(endpoint.origin, performance.now() + lackingMs);
    throw await this.#requester.refuse(endpoint, this.#scope, answer);
  }

  #url(endpoint: Endpoint): URL {
    const url = new URL(endpoint.base + this.#path);
    if (endpoint.namespace !== undefined) url.searchParams.set('ns', endpoint.namespace);
    return url;
  }
}

import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { abortError, RegistryError } from './errors.ts';
import type { Endpoint } from './hosts.ts';
import type { Requester } from './requester.ts';
import { pullScope } from './scopes.ts';
import type { Answer } from './transport.ts';

/** Statuses with which a signed URL says that its time is over; the registry gives a fresh one. */
const expiredStatuses = new Set([400, 401, 403, 404, 410]);

/** Where one blob can be had: its mirrors and its origin, the one of them that had it last, and the URL to which that one redirected. */
export class BlobLocation {
  readonly #requester: Requester;
  readonly #log: Log;
  readonly #path: string;
  readonly #scope: string;
  #endpoints: readonly Endpoint[];
  #resolved: { endpoint: Endpoint; url: URL } | undefined;

  constructor(requester: Requester, log: Log, endpoints: readonly Endpoint[], repository: string, digest: string) {
    this.#requester = requester;
    this.#log = log;
    this.#endpoints = endpoints;
    this.#path = `${repository}/blobs/${digest}`;
    this.#scope = pullScope(repository);
  }

  /** The origin that will probably answer next; undefined where that is not known. */
  get likelyOrigin(): string | undefined {
    return this.#resolved?.url.origin ?? this.#endpoints[0]?.origin;
  }

  /**
   * Asks the URL of the last redirect, then the mirrors and the origin, until one answers 200, 206, 416 or one of `also` to a GET with
   * the Range header `range`. Throws the last one's error; on the first try that is the origin's.
   */
  async open(range: string, signal: AbortSignal | undefined, also?: ReadonlySet<number>): Promise<Answer> {
    const resolved = await this.#openResolved(range, signal, also);
    if (resolved !== undefined) return resolved;
    let failure: unknown;
    for (const endpoint of this.#endpoints) {
      if (failure !== undefined) {
        this.#log.warn({ error: messageOf(failure), next: endpoint.origin }, 'trying the next server for a blob');
      }
      try {
        const answer = await this.#ask(endpoint, this.#url(endpoint), range, signal, also);
        this.#endpoints = [endpoint, ...this.#endpoints.filter((other) => other !== endpoint)];
        this.#resolved = answer.url.origin === endpoint.origin ? undefined : { endpoint, url: answer.url };
        return answer;
      } catch (error) {
        if (signal?.aborted) throw abortError(signal);
        failure = error;
      }
    }
    throw failure;
  }

  async #openResolved(
    range: string,
    signal: AbortSignal | undefined,
    also: ReadonlySet<number> | undefined,
  ): Promise<Answer | undefined> {
    if (this.#resolved === undefined) return undefined;
    const { endpoint, url } = this.#resolved;
    try {
      return await this.#ask(endpoint, url, range, signal, also);
    } catch (error) {
      this.#resolved = undefined;
      if (error instanceof RegistryError && error.status !== undefined && expiredStatuses.has(error.status))
        return undefined;
      throw error;
    }
  }

  async #ask(
    endpoint: Endpoint,
    url: URL,
    range: string,
    signal: AbortSignal | undefined,
    also?: ReadonlySet<number>,
  ): Promise<Answer> {
    const answer = await this.#requester.send(endpoint, {
      method: 'GET',
      url,
      scope: this.#scope,
      headers: { range },
      signal,
    });
    const { status } = answer;
    if (status === 200 || status === 206 || status === 416 || also?.has(status)) return answer;
    throw await this.#requester.refuse(endpoint, this.#scope, answer);
  }

  #url(endpoint: Endpoint): URL {
    const url = new URL(endpoint.base + this.#path);
    if (endpoint.namespace !== undefined) url.searchParams.set('ns', endpoint.namespace);
    return url;
  }
}

import type { Readable } from 'node:stream';
import type { Log } from '../log.ts';
import { version } from '../version.ts';
import type { Authorizer } from './auth.ts';
import { discard } from './body.ts';
import { Deadline } from './deadline.ts';
import { answerError, type RegistryError } from './errors.ts';
import type { Endpoint, Hosts } from './hosts.ts';
import { followable, isRedirect, maxRedirects, routeFrom } from './redirect.ts';
import { headerOf, refusal } from './refusal.ts';
import type { Answer, Transport } from './transport.ts';

/** A request to a registry. */
export interface RegistryRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly url: URL;
  /** What the request needs to be allowed, as `scopes.ts` writes it. */
  readonly scope: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** A body that is read as it is sent; made anew for each time that the request is sent. */
  readonly stream?: (() => Readable) | undefined;
  readonly headersMs?: number | undefined;
  readonly bodyIdleMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const userAgent = `lazypull/${version}`;

/** Sends one request to an endpoint: with authorization, renewed once on a 401, and along redirects. It interprets no other status and does not retry. */
export class Requester {
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;
  readonly #hosts: Hosts;
  readonly #log: Log;

  constructor(transport: Transport, authorizer: Authorizer, hosts: Hosts, log: Log) {
    this.#transport = transport;
    this.#authorizer = authorizer;
    this.#hosts = hosts;
    this.#log = log;
  }

  /** The answer of the last server in the chain; `url` in it is where the bytes are. The time-out for its head is that of the whole chain, with tokens. */
  async send(endpoint: Endpoint, request: RegistryRequest): Promise<Answer> {
    const headersMs = this.#transport.headersMs(request.headersMs ?? endpoint.headersMs);
    using deadline = new Deadline(request, headersMs, request.signal);
    const own = request.url.origin === endpoint.origin;
    const authorization = own
      ? await this.#authorizer.authorization(endpoint, request.scope, deadline.signal)
      : undefined;
    const answer = await this.#follow(endpoint, request, authorization, deadline);
    if (answer.status !== 401 || answer.url.origin !== endpoint.origin) return answer;
    const renewed = await this.#authorizer.renewed(endpoint, request.scope, authorization, answer, deadline.signal);
    if (renewed === undefined) return answer;
    discard(answer);
    return this.#follow(endpoint, request, renewed, deadline);
  }

  /** The error for an answer with a status that the caller did not expect, with advice where a person can do something. */
  async refuse(endpoint: Endpoint, scope: string, answer: Answer): Promise<RegistryError> {
    if (answer.status !== 401 && answer.status !== 403) return refusal(answer);
    if (answer.url.origin !== endpoint.origin)
      return refusal(answer, `the registry "${endpoint.host}" redirected there`);
    this.#authorizer.forget(endpoint, scope);
    const { hint, cause } = this.#authorizer.advice(endpoint);
    return refusal(answer, hint, cause);
  }

  /** The URL that an answer of `endpoint`, or of where it sent us, names. Throws PermissionDenied where we do not go there. */
  elsewhere(endpoint: Endpoint, answer: Answer, location: string | undefined): URL {
    return followable(answer, location, this.#hosts, this.#transport.zoneOf(new URL(endpoint.origin).hostname));
  }

  async #follow(
    endpoint: Endpoint,
    request: RegistryRequest,
    authorization: string | undefined,
    deadline: Deadline,
  ): Promise<Answer> {
    let url = request.url;
    for (let hops = 0; ; hops++) {
      const answer = await this.#sendOnce(endpoint, request, url, authorization, deadline);
      if (!isRedirect(answer.status, request.body !== undefined || request.stream !== undefined)) return answer;
      discard(answer);
      if (hops === maxRedirects)
        throw answerError(answer, `redirected more than ${maxRedirects} times`, 'FailedPrecondition');
      url = this.elsewhere(endpoint, answer, headerOf(answer, 'location'));
    }
  }

  async #sendOnce(
    endpoint: Endpoint,
    request: RegistryRequest,
    url: URL,
    authorization: string | undefined,
    deadline: Deadline,
  ): Promise<Answer> {
    const own = url.origin === endpoint.origin;
    const startedMs = performance.now();
    const answer = await this.#transport.send({
      method: request.method,
      url,
      headers: {
        'user-agent': userAgent,
        'accept-encoding': 'identity',
        ...(own ? endpoint.headers : {}),
        ...request.headers,
        ...(own && authorization !== undefined ? { authorization } : {}),
      },
      body: request.body ?? request.stream?.(),
      headersMs: request.headersMs ?? endpoint.headersMs,
      bodyIdleMs: request.bodyIdleMs,
      ...routeFrom(endpoint, url, this.#hosts, this.#transport),
      deadline,
    });
    const { range } = request.headers ?? {};
    const ms = Math.round(performance.now() - startedMs);
    this.#log.debug(
      { method: request.method, url: `${url.origin}${url.pathname}`, range, status: answer.status, ms },
      'registry request',
    );
    return answer;
  }
}

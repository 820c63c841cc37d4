import type { Readable } from 'node:stream';
import type { Log } from '../../log.ts';
import { isLoopback } from '../hosts/addresses.ts';
import { version } from '../../version.ts';
import type { Authorizer } from '../auth/auth.ts';
import type { Labels } from '../auth/credentials/credential-source.ts';
import { discard } from './body.ts';
import { Deadline } from './deadline.ts';
import { answerError, type RegistryError } from '../errors.ts';
import type { Endpoint, Hosts } from '../hosts/hosts.ts';
import { followable, isRedirect, maxRedirects, routeFrom } from './redirect.ts';
import { headerOf, refusal } from '../refused-answer.ts';
import { movedTo, neitherScheme, type Outcome } from '../hosts/schemes.ts';
import { scopeOf } from '../auth/scopes.ts';
import type { Answer, Transport } from './transport.ts';

/** A request to a registry. */
export interface RegistryRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  readonly url: URL;
  /** The permissions that the request needs, in the form of `scopes.ts`. */
  readonly scope: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** A body that is read while it is sent; it is made again each time that the request is sent. */
  readonly stream?: (() => Readable) | undefined;
  readonly headersMs?: number | undefined;
  readonly bodyIdleMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const userAgent = `lazypull/${version}`;

/**
 * Sends one request to an endpoint: with authorization, renewed once on a 401, and along redirects. It interprets no
 * other status and does not retry.
 */
export class Requester {
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;
  readonly #hosts: Hosts;
  readonly #log: Log;
  readonly #labels: Labels;

  /** @param labels of the snapshot that it asks for */
  constructor(transport: Transport, authorizer: Authorizer, hosts: Hosts, log: Log, labels: Labels = {}) {
    this.#transport = transport;
    this.#authorizer = authorizer;
    this.#hosts = hosts;
    this.#log = log;
    this.#labels = labels;
  }

  /** The same for what is asked for a snapshot with these labels. */
  withLabels(labels: Labels): Requester {
    return new Requester(this.#transport, this.#authorizer, this.#hosts, this.#log, labels);
  }

  /**
   * The answer of the last server in the chain; its `url` is where the bytes are. The time-out for its head covers the
   * whole chain, with tokens. Each server in the chain gets its own credentials, and never those of another one.
   */
  async send(endpoint: Endpoint, request: RegistryRequest): Promise<Answer> {
    const headersMs = this.#transport.headersMs(request.headersMs ?? endpoint.headersMs);
    using deadline = new Deadline(request, headersMs, request.signal);
    let { url } = request;
    for (let hops = 0; ; hops++) {
      const answer = await this.#convince(endpoint, request, url, deadline);
      if (!isRedirect(answer.status, request.body !== undefined || request.stream !== undefined)) return answer;
      discard(answer);
      if (hops === maxRedirects)
        throw answerError(answer, `redirected more than ${maxRedirects} times`, 'FailedPrecondition');
      url = this.elsewhere(answer, headerOf(answer, 'location'));
    }
  }

  /** The error for an answer with an unexpected status, with a hint if a person can do something. */
  async refuse(endpoint: Endpoint, scope: string, answer: Answer): Promise<RegistryError> {
    if (answer.status !== 401 && answer.status !== 403) return refusal(answer);
    const server = this.#serverAt(endpoint, answer.url);
    const isOwn = this.isAt(endpoint, answer.url);
    if (!isOwn && !this.#authorizer.isAsked(server))
      return refusal(answer, { hint: `the registry "${endpoint.host}" redirected there` });
    this.#authorizer.forget(server, isOwn ? scope : scopeOf(answer.method, answer.url));
    return refusal(answer, this.#authorizer.advice(server));
  }

  /** The URL that an answer names. Throws PermissionDenied if it must not be followed. */
  elsewhere(answer: Answer, location: string | undefined): URL {
    return followable(answer, location, this.#hosts, this.#transport.zoneOf(answer.url.hostname));
  }

  /** Whether a URL is at an endpoint itself, and not at a server to which it redirected. */
  isAt(endpoint: Endpoint, url: URL): boolean {
    return url.origin === endpoint.origin || url.origin === this.#hosts.schemes.current(endpoint).origin;
  }

  /** The server at a URL that an endpoint has, or to which it redirected. */
  #serverAt(endpoint: Endpoint, url: URL): Endpoint {
    if (this.isAt(endpoint, url)) return this.#hosts.schemes.current(endpoint);
    const route = routeFrom(this.#hosts.schemes.current(endpoint), url, this.#hosts, this.#transport);
    const server = this.#hosts.elsewhere(url, endpoint);
    // If the certificates of one registry are not checked, that must not expose the credentials for another one.
    const isAnybody = route.tls?.skipVerify === true && !isLoopback(url.hostname) && !isOfHost(endpoint, url);
    return { ...server, ...route, isOpen: server.isOpen === true || isAnybody };
  }

  /** Sends a request with authorization, renewed once on a 401. */
  async #convince(endpoint: Endpoint, request: RegistryRequest, url: URL, deadline: Deadline): Promise<Answer> {
    const server = this.#serverAt(endpoint, url);
    const at = movedTo(server, endpoint, url);
    const isOwn = this.isAt(endpoint, url);
    // Otherwise a registry could make us write into another one with our credentials for that.
    if (!isOwn && request.method !== 'GET' && request.method !== 'HEAD')
      return this.#sendOnce(server, request, at, undefined, deadline);
    const need = { scope: isOwn ? request.scope : scopeOf(request.method, url), labels: this.#labels };
    const authorization = await this.#authorizer.authorization(server, need, deadline.signal);
    const answer = isOwn
      ? await this.#sendEither(server, request, at, authorization, deadline)
      : await this.#sendOnce(server, request, at, authorization, deadline);
    if (answer.status !== 401) return answer;
    const asking = this.#serverAt(endpoint, answer.url); // perhaps with another scheme
    const sent = asking.origin === server.origin ? authorization : undefined;
    const renewed = await this.#authorizer.renewed(asking, need, sent, answer, deadline.signal);
    if (renewed === undefined) return answer;
    discard(answer);
    return this.#sendOnce(asking, request, answer.url, renewed, deadline);
  }

  /**
   * Sends a request with the scheme that the server probably speaks, and with the other one if the answer hints at
   * that.
   */
  async #sendEither(
    server: Endpoint,
    request: RegistryRequest,
    url: URL,
    authorization: string | undefined,
    deadline: Deadline,
  ): Promise<Answer> {
    const { schemes } = this.#hosts;
    const outcome: Outcome = await this.#sendOnce(server, request, url, authorization, deadline).then(
      (answer) => ({ answer }),
      (error: unknown) => ({ error }),
    );
    const other = deadline.signal.aborted ? undefined : schemes.other(server, outcome);
    if (other !== undefined) {
      try {
        const answer = await this.#sendOnce(other, request, movedTo(other, server, url), undefined, deadline);
        if ('answer' in outcome) discard(outcome.answer);
        schemes.answered(other);
        return answer;
      } catch (error) {
        if ('error' in outcome) throw neitherScheme(server, outcome.error, error);
      }
    }
    if ('error' in outcome) throw outcome.error;
    schemes.answered(server);
    return outcome.answer;
  }

  async #sendOnce(
    server: Endpoint,
    request: RegistryRequest,
    url: URL,
    authorization: string | undefined,
    deadline: Deadline,
  ): Promise<Answer> {
    const startedMs = performance.now();
    const answer = await this.#transport.send({
      method: request.method,
      url,
      headers: {
        'user-agent': userAgent,
        'accept-encoding': 'identity',
        ...server.headers,
        ...request.headers,
        ...(authorization === undefined ? {} : { authorization }),
      },
      body: request.body ?? request.stream?.(),
      headersMs: request.headersMs ?? server.headersMs,
      bodyIdleMs: request.bodyIdleMs,
      zone: server.zone,
      tls: server.tls,
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

function isOfHost({ origin }: Endpoint, { hostname }: URL): boolean {
  return new URL(origin).hostname === hostname;
}

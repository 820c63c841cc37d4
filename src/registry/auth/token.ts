import type { Log } from '../../log.ts';
import { collect, discard } from '../http/body.ts';
import type { Credential } from './credentials/credential-source.ts';
import { Deadline } from '../http/deadline.ts';
import { type Asked, answerError } from '../errors.ts';
import type { Endpoint, Hosts } from '../hosts/hosts.ts';
import { followable, isRedirect, maxRedirects, routeFrom } from '../http/redirect.ts';
import { type Advice, headerOf, refusal } from '../refused-answer.ts';
import { type RetryPolicy, retrying, Tries } from '../http/retry.ts';
import type { Answer, Outgoing, Transport } from '../http/transport.ts';

/** An Authorization header that a server has taken or is likely to take. */
export interface Grant {
  readonly value: string;
  readonly expiresAtMs: number;
  /** A use after this time fetches the next token, which no request waits for. */
  readonly renewAtMs: number;
}

/** Where a server wants a token from, according to its challenge. */
export interface TokenDemand {
  readonly realm: string;
  readonly service: string | undefined;
}

const maxTokenAnswerBytes = 1024 * 1024;
const maxTokenLength = 512 * 1024;
const clientId = 'lazypull';

/** A token is fetched within a request that is tried again itself, so this is short. */
const tokenTries = 3;
const tokenMs = 30_000;
const tokenHeadersMs = 10_000;

/** Docker's token specification: a token without `expires_in` lives for 60 seconds. */
const defaultExpirySeconds = 60;
const maxExpirySeconds = 24 * 60 * 60;

/** A token is not used in the last tenth of its life, so that it does not expire during a request. */
const usedLife = 0.9;

/** If a request uses it in the last third, the next one is fetched at the same time. */
const freshLife = 2 / 3;

type TokenRequest = Pick<Outgoing, 'method' | 'url' | 'headers' | 'body'>;

/**
 * Fetches tokens from the realms of challenges: https://distribution.github.io/distribution/spec/auth/token/ (GET) and
 * …/auth/oauth/ (POST, for identity tokens). Token servers may redirect; credentials go along only to the same server.
 */
export class TokenFetcher {
  readonly #transport: Transport;
  readonly #hosts: Hosts;
  readonly #policy: RetryPolicy;
  readonly #log: Log;

  constructor(transport: Transport, hosts: Hosts, policy: RetryPolicy, log: Log) {
    this.#transport = transport;
    this.#hosts = hosts;
    const { totalMs, tries } = policy;
    this.#policy = { ...policy, tries: Math.min(tries, tokenTries), totalMs: Math.min(totalMs, tokenMs) };
    this.#log = log;
  }

  /**
   * A token for the scopes in `scope`, separated by blanks. `advice` is what a person can do if the token server
   * refuses. Throws PermissionDenied if the realm is at a place to which no redirect is followed, and
   * FailedPrecondition for an answer without a token.
   */
  async fetch(
    endpoint: Endpoint,
    { realm, service }: TokenDemand,
    scope: string,
    credential: Credential | undefined,
    advice: () => Advice,
  ): Promise<Grant> {
    const registry: Asked = { method: 'GET', url: new URL(endpoint.base) };
    const zone = this.#transport.zoneOf(registry.url.hostname);
    const request = tokenRequest(followable(registry, realm, this.#hosts, zone), service, scope, credential);
    const tries = new Tries(this.#policy, this.#log, undefined);
    return retrying(tries, async () => {
      const sentAtMs = performance.now();
      const answer = await this.#ask(endpoint, request);
      if (answer.status < 200 || answer.status >= 300) {
        throw await refusal(answer, answer.status < 500 && answer.status !== 429 ? advice() : undefined);
      }
      const text = (await collect(answer, maxTokenAnswerBytes, tries, this.#transport.counters)).toString('utf8');
      const { token, seconds } = readToken(answer, text);
      const lifeMs = seconds * 1000;
      return {
        value: `Bearer ${token}`,
        expiresAtMs: sentAtMs + lifeMs * usedLife,
        renewAtMs: sentAtMs + lifeMs * freshLife,
      };
    });
  }

  /** The answer of the last server in a chain of redirects. */
  async #ask(endpoint: Endpoint, first: TokenRequest): Promise<Answer> {
    const headersMs = this.#transport.headersMsUpTo(tokenHeadersMs);
    using deadline = new Deadline(first, headersMs, undefined);
    let request = first;
    for (let hops = 0; ; hops++) {
      const route = routeFrom(endpoint, request.url, this.#hosts, this.#transport);
      const answer = await this.#transport.send({ ...request, headersMs, deadline, ...route });
      if (!isRedirect(answer.status)) return answer;
      discard(answer);
      if (hops === maxRedirects)
        throw answerError(answer, `redirected more than ${maxRedirects} times`, 'FailedPrecondition');
      const zone = this.#transport.zoneOf(answer.url.hostname);
      request = redirected(request, answer, followable(answer, headerOf(answer, 'location'), this.#hosts, zone));
    }
  }
}

/**
 * The request to repeat at `url`. A form is posted again except after 303. Throws PermissionDenied if it holds an
 * identity token for another server.
 */
function redirected(request: TokenRequest, answer: Answer, url: URL): TokenRequest {
  if (request.body !== undefined && answer.status === 303)
    return { method: 'GET', url, headers: { accept: 'application/json' } };
  if (isSameServer(request.url, url)) return { ...request, url };
  if (request.body !== undefined) {
    const problem = `it sends on to "${url.origin}", which is another server and does not get the identity token`;
    throw answerError(answer, problem, 'PermissionDenied');
  }
  const { authorization: _, ...headers } = request.headers;
  return { ...request, url, headers };
}

/** Whether a URL is at the server of another one, or at the same one over https instead of http. */
function isSameServer(one: URL, other: URL): boolean {
  if (one.origin === other.origin) return true;
  return one.hostname === other.hostname && one.port === other.port && other.protocol === 'https:';
}

function tokenRequest(
  realm: URL,
  service: string | undefined,
  scope: string,
  credential: Credential | undefined,
): TokenRequest {
  if (credential?.kind === 'identity-token') {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      refresh_token: credential.token,
      client_id: clientId,
      ...(service === undefined ? {} : { service }),
      ...(scope === '' ? {} : { scope }),
    });
    const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' };
    return { method: 'POST', url: realm, headers, body: Buffer.from(form.toString()) };
  }
  if (service !== undefined) realm.searchParams.set('service', service);
  for (const one of scope.split(' ').filter(Boolean)) realm.searchParams.append('scope', one);
  if (credential === undefined) return { method: 'GET', url: realm, headers: { accept: 'application/json' } };
  realm.searchParams.set('account', credential.username);
  return { method: 'GET', url: realm, headers: { accept: 'application/json', authorization: basic(credential) } };
}

function readToken(answer: Answer, text: string): { token: string; seconds: number } {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  const fields: Partial<Record<string, unknown>> = typeof body === 'object' && body !== null ? { ...body } : {};
  const token = fields['token'] || fields['access_token'];
  if (typeof token !== 'string' || token.length > maxTokenLength || !/^[\x21-\x7e]+$/.test(token)) {
    throw answerError(answer, 'the token server answered without a token', 'FailedPrecondition');
  }
  const expiry = fields['expires_in'];
  const seconds = typeof expiry === 'number' && expiry > 0 ? Math.min(expiry, maxExpirySeconds) : defaultExpirySeconds;
  return { token, seconds };
}

/** The header for Basic authentication (RFC 7617). */
export function basic({ username, password }: Credential & { kind: 'password' }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

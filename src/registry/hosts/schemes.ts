import { errnoOf } from '../../errors.ts';
import { RegistryError } from '../errors.ts';
import { networkReason, notHttp } from '../http/network-reasons.ts';
import type { Endpoint } from './hosts.ts';
import { anyCertificate } from '../http/tls.ts';
import type { Answer } from '../http/transport.ts';

export type Scheme = 'http' | 'https';

/**
 * For how long an answer proves the scheme of a server. After that, a possible sign of the other scheme is looked into
 * again.
 */
const sureMs = 60_000;

const maxServers = 1_000;

/**
 * How an HTTPS server reacts to a request in plain HTTP, if it does not answer 400: it closes the connection, or sends
 * a TLS alert.
 */
const closed = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']);

/** Errors of https to an HTTP server. */
const notTls = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO']);

/** Errors of an unused port: if the name of a registry has no port, each scheme has a port of its own. */
const unreachable = new Set(['ECONNREFUSED', 'UND_ERR_CONNECT_TIMEOUT']);

/** The outcome of a request: an answer or an error. */
export type Outcome = { readonly answer: Answer } | { readonly error: unknown };

/**
 * Which of http and https the registries of this machine speak, if their names do not say it. As in containerd and
 * Docker, both are tried, and certificates of this machine are not checked. Unlike there, http comes first, because
 * most of them speak it. No credentials leak by that: they are sent only after a server has asked for them.
 */
export class Schemes {
  readonly #guessed = new Set<string>();
  readonly #seen = new Map<string, { readonly scheme: Scheme; readonly sureUntilMs: number }>();

  /** Notes that the scheme of a registry is a guess. */
  guess(host: string): void {
    if (this.#guessed.size < maxServers) this.#guessed.add(host);
  }

  /** Notes that the scheme of a registry is configured. */
  keep(host: string): void {
    this.#guessed.delete(host);
  }

  /** The endpoint with the scheme that its server has spoken. */
  current(endpoint: Endpoint): Endpoint {
    const seen = this.#seen.get(endpoint.host);
    return seen === undefined || !this.#guessed.has(endpoint.host) ? endpoint : inScheme(endpoint, seen.scheme);
  }

  /** The endpoint with the other scheme, if its server may speak that. */
  other(endpoint: Endpoint, outcome: Outcome): Endpoint | undefined {
    if (!this.#guessed.has(endpoint.host)) return undefined;
    const scheme = schemeOf(endpoint);
    const isSure = this.#isSure(endpoint.host, scheme);
    const code = 'error' in outcome ? codeOfCause(outcome.error) : '';
    const hasNoPort = !/:\d+$/.test(endpoint.host);
    const isSign =
      'answer' in outcome
        ? outcome.answer.status === 400 && scheme === 'http' && !isSure
        : code === notHttp ||
          (scheme === 'https' && notTls.has(code)) ||
          (closed.has(code) && !isSure) ||
          (unreachable.has(code) && hasNoPort);
    return isSign ? inScheme(endpoint, scheme === 'http' ? 'https' : 'http') : undefined;
  }

  /** Notes that a server answered. */
  answered(endpoint: Endpoint): void {
    if (!this.#guessed.has(endpoint.host) || (this.#seen.size >= maxServers && !this.#seen.has(endpoint.host))) return;
    this.#seen.set(endpoint.host, { scheme: schemeOf(endpoint), sureUntilMs: performance.now() + sureMs });
  }

  #isSure(host: string, scheme: Scheme): boolean {
    const seen = this.#seen.get(host);
    return seen?.scheme === scheme && seen.sureUntilMs > performance.now();
  }
}

/** A server of this machine with another scheme. */
export function inScheme(endpoint: Endpoint, scheme: Scheme): Endpoint {
  if (schemeOf(endpoint) === scheme) return endpoint;
  const { origin } = new URL(`${scheme}://${endpoint.host}`);
  const base = origin + new URL(endpoint.base).pathname;
  return { ...endpoint, base, origin, tls: endpoint.tls ?? anyCertificate };
}

/**
 * The error for a server that took neither scheme. If it broke a connection in HTTP and does not speak TLS, it speaks
 * HTTP and is in trouble.
 */
export function neitherScheme(endpoint: Endpoint, first: unknown, second: unknown): unknown {
  const isTroubledHttp = notTls.has(codeOfCause(second)) && closed.has(codeOfCause(first));
  if (!(first instanceof RegistryError) || isTroubledHttp) return first;
  const reason = (error: unknown): string =>
    notTls.has(codeOfCause(error))
      ? 'the answer is not TLS'
      : networkReason(causeOf(error) ?? error, new URL(endpoint.origin)).text;
  const [http, https] = schemeOf(endpoint) === 'http' ? [first, second] : [second, first];
  const what = `Cannot reach the registry "${endpoint.host}": over http, ${reason(http)}; over https, ${reason(https)}`;
  const hint = 'check which program of this machine listens at that port';
  return new RegistryError(first.code, what, { retryable: first.retryable, hint });
}

/** The same URL at an endpoint, if it was at the same one with another scheme. */
export function movedTo(endpoint: Endpoint, before: Endpoint, url: URL): URL {
  return url.origin === before.origin ? new URL(url.href.slice(url.origin.length), `${endpoint.origin}/`) : url;
}

function causeOf(error: unknown): unknown {
  return error instanceof RegistryError ? error.cause : undefined;
}

function codeOfCause(error: unknown): string {
  return errnoOf(causeOf(error)) ?? '';
}

function schemeOf({ origin }: Endpoint): Scheme {
  return origin.startsWith('https:') ? 'https' : 'http';
}

import { LazypullError, explain } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { CredentialChain } from './credentials/chain.ts';
import type { Credential, CredentialSource, Labels } from './credentials/credential-source.ts';
import { abortError } from '../errors.ts';
import type { Endpoint } from '../hosts/hosts.ts';
import { type Advice, headerOf } from '../refused-answer.ts';
import { mergeScopes, repositoryOf } from './scopes.ts';
import { basic, type Grant, type TokenDemand, type TokenFetcher } from './token.ts';
import type { Answer } from '../http/transport.ts';

/** The authorization that a server wants, from its last 401. */
type Demand = { readonly kind: 'basic' } | ({ readonly kind: 'bearer' } & TokenDemand);

/** What a request needs to be allowed, as `scopes.ts` writes it, and the labels of the snapshot that it is sent for. */
export interface Need {
  readonly scope: string;
  readonly labels: Labels;
}

const maxGrants = 1_000;

/** Servers whose challenges are remembered: those of registries, and those they redirect to. */
const maxDemands = 1_000;

/**
 * Knows the content of the Authorization header: Basic, or a Bearer token from the realm that a 401 names (Docker's
 * token authentication). Tokens are kept for each server and scope until they expire; requests that need the same one
 * at the same time fetch it once.
 */
export class Authorizer {
  readonly #credentials: CredentialChain;
  readonly #tokens: TokenFetcher;
  readonly #log: Log;
  readonly #demands = new Map<string, Demand>();
  readonly #grants = new Map<string, Grant>();
  readonly #flights = new Map<string, Promise<string | undefined>>();
  readonly #problems = new Map<string, unknown>();
  /** The source that last had credentials for a host. */
  readonly #found = new Map<string, CredentialSource>();

  constructor(credentials: readonly CredentialSource[], tokens: TokenFetcher, log: Log) {
    this.#credentials = new CredentialChain(credentials);
    this.#tokens = tokens;
    this.#log = log;
  }

  /** The header to send to `endpoint` at once; undefined if the server has not asked for any, or if we have none. */
  async authorization(endpoint: Endpoint, need: Need, signal?: AbortSignal): Promise<string | undefined> {
    const demand = this.#demands.get(endpoint.origin);
    if (demand === undefined) return undefined;
    const cached = this.#cached(grantKey(endpoint, demand, need.scope));
    if (cached !== undefined) {
      if (performance.now() > cached.renewAtMs) {
        // the next request gets the error
        this.#obtain(endpoint, demand, need, need.scope, undefined).catch(() => undefined);
      }
      return cached.value;
    }
    try {
      return await this.#obtain(endpoint, demand, need, need.scope, signal);
    } catch (error) {
      if (signal?.aborted) throw error;
      // The server's last demand may have been a mistake: its next 401 has the present one.
      if (this.#demands.get(endpoint.origin) === demand) this.#demands.delete(endpoint.origin);
      return undefined;
    }
  }

  /**
   * The header to send after a 401 to a request with `sent`: one that has not been refused yet; undefined if there is
   * none. Credentials are read afresh. Throws if the token server refuses them.
   */
  async renewed(
    endpoint: Endpoint,
    need: Need,
    sent: string | undefined,
    answer: Answer,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const challenges = parseChallenges(headerOf(answer, 'www-authenticate') ?? '');
    const challenge =
      challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm')) ??
      challenges.find(({ scheme }) => scheme === 'basic');
    if (challenge === undefined) return undefined;
    const demand = demandOf(challenge);
    this.#demands.set(endpoint.origin, demand);
    const [oldest] = this.#demands.keys();
    if (this.#demands.size > maxDemands && oldest !== undefined) this.#demands.delete(oldest);
    const key = grantKey(endpoint, demand, need.scope);
    const cached = this.#cached(key);
    if (cached !== undefined && cached.value !== sent) return cached.value;
    this.#grants.delete(key);
    const asked = mergeScopes(need.scope, challenge.parameters.get('scope') ?? '');
    const value = await this.#obtain(endpoint, demand, need, asked, signal);
    return value === sent ? undefined : value;
  }

  /** Whether a server has asked for an authorization. */
  isAsked({ origin }: Endpoint): boolean {
    return this.#demands.has(origin);
  }

  /** Forgets a grant after a 403: the next request asks again, perhaps with better credentials. */
  forget(endpoint: Endpoint, scope: string): void {
    const demand = this.#demands.get(endpoint.origin);
    if (demand !== undefined) this.#grants.delete(grantKey(endpoint, demand, scope));
  }

  /**
   * The likely reason for a 401 or 403 of a server: what is wrong with the credentials for it, or what a person can do.
   */
  advice({ host }: Endpoint): Advice {
    const problem = this.#problems.get(host);
    if (problem !== undefined) return { problem, host };
    return { hint: this.#credentials.advice(host, this.#found.get(host)) };
  }

  #cached(key: string): Grant | undefined {
    const grant = this.#grants.get(key);
    return grant !== undefined && grant.expiresAtMs > performance.now() ? grant : undefined;
  }

  #obtain(
    endpoint: Endpoint,
    demand: Demand,
    { scope, labels }: Need,
    asked: string,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const key = grantKey(endpoint, demand, scope);
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      flight = this.#grant(endpoint, demand, { scope: asked, labels }).then((grant) => {
        if (grant !== undefined) this.#keep(key, grant);
        return grant?.value;
      });
      this.#flights.set(key, flight);
      const landed = (): boolean => this.#flights.delete(key);
      flight.then(landed, landed);
    }
    return unlessAborted(flight, signal);
  }

  async #grant(endpoint: Endpoint, demand: Demand, { scope, labels }: Need): Promise<Grant | undefined> {
    const credential = await this.#find(endpoint, repositoryOf(scope), labels);
    if (demand.kind === 'bearer')
      return this.#tokens.fetch(endpoint, demand, scope, credential, () => this.advice(endpoint));
    if (credential?.kind !== 'password') return undefined;
    return {
      value: basic(credential),
      expiresAtMs: Number.POSITIVE_INFINITY,
      renewAtMs: Number.POSITIVE_INFINITY,
    };
  }

  /**
   * Public images need no credentials. So a broken helper or file is reported with the error that it may cause, not
   * before.
   */
  async #find(
    { host, isOpen }: Endpoint,
    repository: string | undefined,
    labels: Labels,
  ): Promise<Credential | undefined> {
    this.#problems.delete(host);
    this.#found.delete(host);
    try {
      if (isOpen === true) {
        const hint = `ask for the image by the name of that registry, "${host}"`;
        const what = `Refused to send the credentials for "${host}" to the place that another registry redirected to: nothing proves that it is the same registry`;
        throw new LazypullError('PermissionDenied', what, { hint });
      }
      const found = await this.#credentials.find({ host, repository, labels });
      if (found !== undefined) this.#found.set(host, found.source);
      return found?.credential;
    } catch (error) {
      this.#problems.set(host, error);
      this.#log.warn({ host, error: explain(error) }, 'cannot get credentials: asking without');
      return undefined;
    }
  }

  #keep(key: string, grant: Grant): void {
    this.#grants.delete(key);
    this.#grants.set(key, grant);
    const oldest = this.#grants.keys().next();
    if (this.#grants.size > maxGrants && !oldest.done) this.#grants.delete(oldest.value);
  }
}

function demandOf({ scheme, parameters }: Challenge): Demand {
  const realm = parameters.get('realm');
  if (scheme === 'basic' || realm === undefined) return { kind: 'basic' };
  return { kind: 'bearer', realm, service: parameters.get('service') };
}

function grantKey(endpoint: Endpoint, demand: Demand, scope: string): string {
  return demand.kind === 'basic'
    ? `${endpoint.origin} basic ${repositoryOf(scope) ?? ''}`
    : `${endpoint.origin} ${demand.realm} ${demand.service ?? ''} ${scope}`;
}

/** A shared promise must outlive the caller that started it, so only the waiting ends early. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) throw abortError(signal);
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(abortError(signal));
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

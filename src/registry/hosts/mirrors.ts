import { codeOf, explain, hintOf, messageOf } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { abortError, RegistryError } from '../errors.ts';
import type { Endpoint } from './hosts.ts';
import type { ServerHealth } from './server-health.ts';

interface Failure {
  readonly endpoint: Endpoint;
  readonly error: unknown;
}

/** Asks the servers of a registry in turn. All requests of one client share what is known about them. */
export class Mirrors {
  readonly health: ServerHealth;
  /** How long one server may be silent if there are others. */
  readonly patienceMs: number;
  readonly #log: Log;

  constructor(health: ServerHealth, patienceMs: number, log: Log) {
    this.health = health;
    this.patienceMs = patienceMs;
    this.#log = log;
  }

  /** The servers in the order in which to ask them. Those that failed lately, or that `lacks` selects, come last. */
  inOrder(endpoints: readonly Endpoint[], lacks: (endpoint: Endpoint) => boolean = () => false): Endpoint[] {
    const isLast = (endpoint: Endpoint): boolean => lacks(endpoint) || this.health.isSkipped(endpoint.origin);
    return [...endpoints.filter((endpoint) => !isLast(endpoint)), ...endpoints.filter(isLast)];
  }

  /**
   * The result of the first server that has one. If a server fails, or is silent for a while, the next one is asked
   * too. `ask` gets a signal that aborts if another server was faster; `drop` gets results that come all the same.
   * Throws the error of the last server, with those of the others in its message; it may be retried if one of them may.
   */
  async first<T>(
    endpoints: readonly Endpoint[],
    ask: (endpoint: Endpoint, signal: AbortSignal | undefined) => Promise<T>,
    drop: (late: T) => void,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const [only] = endpoints;
    if (endpoints.length === 1 && only !== undefined) return this.#alone(only, ask, signal);
    const failures: Failure[] = [];
    const silent = new Map<Endpoint, AbortController>();
    let next = 0;
    let isOver = false;
    return new Promise<T>((resolve, reject) => {
      const over = (): void => {
        isOver = true;
        for (const controller of silent.values()) controller.abort();
      };
      const askNext = (): void => {
        const endpoint = endpoints[next++];
        if (endpoint === undefined) return;
        const turn = next;
        const controller = new AbortController();
        silent.set(endpoint, controller);
        const timer = setTimeout(() => {
          if (turn === next && next < endpoints.length) this.#tellNext(endpoint, 'no answer so far', endpoints[next]);
          if (turn === next) askNext();
        }, this.patienceMs);
        const stop = signal === undefined ? controller.signal : AbortSignal.any([controller.signal, signal]);
        ask(endpoint, stop)
          .finally(() => {
            clearTimeout(timer);
            silent.delete(endpoint);
          })
          .then(
            (given) => {
              if (isOver) return drop(given);
              this.health.succeeded(endpoint.origin);
              for (const slow of silent.keys()) {
                if (endpoints.indexOf(slow) < endpoints.indexOf(endpoint)) this.health.failed(slow.origin);
              }
              over();
              resolve(given);
            },
            (error: unknown) => {
              if (isOver) return;
              if (signal?.aborted) {
                over();
                return reject(abortError(signal));
              }
              this.#noteFailure({ endpoint, error });
              failures.push({ endpoint, error });
              if (failures.length === endpoints.length) reject(together(failures));
              else if (turn === next) {
                this.#tellNext(endpoint, explain(error), endpoints[next]);
                askNext();
              }
            },
          );
      };
      askNext();
    });
  }

  async #alone<T>(
    endpoint: Endpoint,
    ask: (endpoint: Endpoint, signal: AbortSignal | undefined) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    try {
      return await ask(endpoint, signal);
    } catch (error) {
      throw signal?.aborted ? abortError(signal) : error;
    }
  }

  /** A server that lacks something or wants credentials is healthy. */
  #noteFailure({ endpoint, error }: Failure): void {
    if (!(error instanceof RegistryError)) return;
    const { status, retryAfterMs } = error;
    if (status === undefined || status === 429 || status >= 500) this.health.failed(endpoint.origin, retryAfterMs);
  }

  #tellNext(endpoint: Endpoint, error: string, next: Endpoint | undefined): void {
    this.#log.warn({ server: endpoint.origin, error, next: next?.origin }, 'asking the next server');
  }
}

/** One error for several: the origin decides what exists. */
function together(failures: readonly Failure[]): RegistryError {
  const last = failures.find(({ endpoint }) => endpoint.namespace === undefined) ?? failures.at(-1)!;
  const others = failures.filter((failure) => failure !== last).map(({ error }) => messageOf(error));
  const all = failures.map(({ error }) => (error instanceof RegistryError ? error : undefined));
  const registryError = last.error instanceof RegistryError ? last.error : undefined;
  return new RegistryError(codeOf(last.error), `${messageOf(last.error)}; before that: ${others.join('; ')}`, {
    status: registryError?.status,
    retryable: all.some((error) => error?.retryable),
    retryAfterMs: Math.min(...all.map((error) => error?.retryAfterMs ?? 0)),
    hint: hintOf(last.error),
    cause: registryError?.cause,
  });
}

import { closeSync } from 'node:fs';
import type { ClientConfig } from '../config/client-list.ts';
import { LazypullError } from '../errors.ts';
import { isSamePath } from '../kernel/real-path.ts';
import {
  clearSocket,
  isReachableAt,
  type ListeningSocket,
  openSocket,
  type PassedSocket,
  passedSockets,
  removeSocket,
} from './socket.ts';

/** A socket for each client: one that the service manager passed, else one of an earlier life, else a new one. */
export class ClientSockets {
  readonly #clients: readonly ClientConfig[];
  readonly #passed: ReadonlyMap<ClientConfig, PassedSocket>;
  readonly #own = new Map<ClientConfig, ListeningSocket>();

  /**
   * Makes sure that no other process serves any of them. No new socket listens before `open`.
   *
   * @param kept sockets of an earlier life: those that belong to no client are closed, with their files
   * @throws FailedPrecondition as `passedSockets` and `clearSocket`
   */
  static async claim(
    clients: readonly ClientConfig[],
    env: NodeJS.ProcessEnv,
    kept: readonly ListeningSocket[],
  ): Promise<ClientSockets> {
    const sockets = new ClientSockets(clients, assign(await passedSockets(env), clients));
    for (const socket of kept) sockets.#take(socket);
    for (const client of clients) if (sockets.#isMissing(client)) await clearSocket(client.address);
    return sockets;
  }

  private constructor(clients: readonly ClientConfig[], passed: ReadonlyMap<ClientConfig, PassedSocket>) {
    this.#clients = clients;
    this.#passed = passed;
  }

  /** Opens the sockets that do not listen yet. */
  async open(): Promise<void> {
    for (const client of this.#clients) {
      if (this.#isMissing(client)) this.#own.set(client, await openSocket(client.address));
    }
  }

  /** The descriptor of a client's socket, once `open` has resolved. */
  descriptor(client: ClientConfig): number {
    const socket = this.#passed.get(client) ?? this.#own.get(client);
    if (socket === undefined) throw new LazypullError('Unavailable', `No socket is open for "${client.name}"`);
    return socket.fd;
  }

  /** The sockets that no service manager keeps. */
  get own(): readonly ListeningSocket[] {
    return [...this.#own.values()];
  }

  /** Removes the files of our own sockets. */
  remove(): void {
    for (const socket of this.#own.values()) removeSocket(socket);
  }

  #isMissing(client: ClientConfig): boolean {
    return !this.#passed.has(client) && !this.#own.has(client);
  }

  #take(socket: ListeningSocket): void {
    const client = this.#clients.find(({ address }) => isReachableAt(socket, address));
    if (client !== undefined && this.#isMissing(client)) {
      this.#own.set(client, socket);
    } else {
      removeSocket(socket);
      closeSync(socket.fd);
    }
  }
}

/**
 * Assigns each passed socket to a client: by the name that its unit gives it, else by its path. A single one may be at
 * any path, and is the first client's then.
 */
function assign(
  sockets: readonly PassedSocket[],
  clients: readonly ClientConfig[],
): ReadonlyMap<ClientConfig, PassedSocket> {
  const assigned = new Map<ClientConfig, PassedSocket>();
  for (const socket of sockets) {
    const client =
      clients.find(({ name }) => name === socket.name) ??
      clients.find(({ address }) => socket.path !== undefined && isSamePath(address, socket.path)) ??
      (sockets.length === 1 ? clients[0] : undefined);
    if (client === undefined || assigned.has(client)) {
      throw new LazypullError(
        'FailedPrecondition',
        `The service manager passed the socket "${socket.path}", which is ${client === undefined ? 'for no client' : `a second one for the client "${client.name}"`}: ListenStream= must be the address of a client, or FileDescriptorName= its name`,
      );
    }
    assigned.set(client, socket);
  }
  return assigned;
}

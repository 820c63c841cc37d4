import type { Socket } from 'node:net';

/** More than any number of clients of one machine. Each takes a descriptor and some 60 KB. */
export const maxConnections = 1024;

/** How often to check which connections have sent something. */
const lookMs = 10_000;

/**
 * The connections of a server, never more than `maxConnections`. One too many replaces the oldest that never sent
 * anything, else the one that has been silent for longest. So programs that only connect keep no other program out: a
 * client whose idle connection is closed makes a new one at its next call.
 */
export class Connections {
  /** The bytes read from each at the last check; the one that sent something last comes last. */
  readonly #open = new Map<Socket, number>();
  #timer: NodeJS.Timeout | undefined;

  add(connection: Socket): void {
    if (this.#open.size >= maxConnections) {
      this.#look();
      const [silent] = [...this.#open].find(([, bytes]) => bytes === 0) ?? [...this.#open][0]!;
      this.#open.delete(silent);
      silent.destroy();
    }
    this.#open.set(connection, 0);
    connection.once('close', () => this.#remove(connection));
    this.#timer ??= setInterval(() => this.#look(), lookMs).unref();
  }

  /** Ends all of them. */
  close(): void {
    for (const connection of this.#open.keys()) connection.destroy();
  }

  #remove(connection: Socket): void {
    this.#open.delete(connection);
    if (this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    for (const [connection, before] of this.#open) {
      const { bytesRead } = connection;
      if (bytesRead === before) continue;
      this.#open.delete(connection);
      this.#open.set(connection, bytesRead);
    }
  }
}

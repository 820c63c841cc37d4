import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';

/** When nothing was sent for so long, the client waits for answers: far longer than what it does between two. */
const quietMs = 400;

/**
 * A TCP link to a server of this machine with a round trip of unknown length: what clients send arrives only when they
 * wait for it, all of it at once, and a new connection takes a round trip by itself. So round trips are counted and no
 * time is measured.
 */
export class LongLink implements AsyncDisposable {
  /** How many times the clients have waited. */
  roundTrips = 0;
  /** Connections that were made. */
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #held: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  private constructor(port: number) {
    this.#server = createServer({ allowHalfOpen: true }, (near) => {
      this.connections++;
      const far = createConnection({ port, host: '127.0.0.1', allowHalfOpen: true });
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on('error', () => [near, far].forEach((each) => each.destroy()));
        socket.once('close', () => this.#sockets.delete(socket));
      }
      let isOpen = false;
      const early: Buffer[] = [];
      this.#hold(() => {
        isOpen = true;
        for (const bytes of early) this.#hold(() => far.write(bytes));
      });
      near.on('data', (bytes: Buffer) => (isOpen ? this.#hold(() => far.write(bytes)) : early.push(bytes)));
      near.once('end', () => far.end());
      far.pipe(near);
    });
  }

  static async to(port: number): Promise<LongLink> {
    const link = new LongLink(port);
    link.#server.listen(0, '127.0.0.1');
    await once(link.#server, 'listening');
    return link;
  }

  /** The server as references name it. */
  get host(): string {
    const address = this.#server.address();
    if (typeof address !== 'object' || address === null) throw new Error('The link is closed');
    return `localhost:${address.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, 'close');
  }

  #hold(arrive: () => void): void {
    this.#held.push(arrive);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.roundTrips++;
      for (const each of this.#held.splice(0)) each();
    }, quietMs);
  }
}

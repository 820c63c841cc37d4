import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/** What a client sent: the lines of a request's head, and its number on the server. */
export interface RawRequest {
  readonly head: string;
  readonly number: number;
}

/**
 * A server that answers requests of HTTP/1.1 with whatever bytes a test likes, when it likes. Bodies of requests are
 * read and forgotten.
 */
export class RawServer implements AsyncDisposable {
  readonly requests: RawRequest[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(answer: (request: RawRequest, socket: Socket) => void) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => this.#sockets.delete(socket));
      let head = '';
      socket.on('data', (bytes: Buffer) => {
        head = (head + bytes.toString('latin1')).slice(-64 * 1024);
        const found = /(?:GET|HEAD|POST|PUT|PATCH) \S+ HTTP\/1\.1\r\n.*?\r\n\r\n/s.exec(head);
        if (found === null) return;
        head = '';
        const request = { head: found[0], number: this.requests.length };
        this.requests.push(request);
        answer(request, socket);
      });
    });
  }

  static async start(answer: (request: RawRequest, socket: Socket) => void): Promise<RawServer> {
    const server = new RawServer(answer);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  /** `127.0.0.1:<port>` */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Writes to a socket again and again until it is closed. */
export function keepWriting(socket: Socket, everyMs: number, piece: (turn: number) => string | Buffer): void {
  let turn = 0;
  const timer = setInterval(() => {
    if (socket.destroyed) clearInterval(timer);
    else socket.write(piece(turn++));
  }, everyMs);
  socket.once('close', () => clearInterval(timer));
}

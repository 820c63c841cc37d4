import { createServer, request, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

/**
 * A forward proxy on 127.0.0.1: CONNECT tunnels and requests in absolute form, all of which it sends to 127.0.0.1,
 * whatever name they are for.
 */
export class ForwardProxy implements AsyncDisposable {
  /** `CONNECT host:port` and `GET http://host/…`, in order. */
  readonly seen: string[] = [];
  /** `user:password` that it wants; undefined for none. */
  readonly #login: string | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(login: string | undefined) {
    this.#login = login;
    this.#server = createServer((incoming, outgoing) => {
      this.seen.push(`${incoming.method} ${incoming.url}`);
      if (!this.#allows(incoming.headers['proxy-authorization'])) return void outgoing.writeHead(407).end();
      const target = new URL(incoming.url ?? '');
      const { method, headers } = incoming;
      const options = { host: '127.0.0.1', port: target.port, path: target.pathname + target.search, method, headers };
      const upstream = request(options, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 0, answer.headers);
        answer.pipe(outgoing);
      });
      upstream.once('error', () => outgoing.destroy());
      incoming.pipe(upstream);
    });
    this.#server.on('connect', (incoming, socket: Socket) => {
      this.seen.push(`CONNECT ${incoming.url}`);
      this.#sockets.add(socket);
      if (!this.#allows(incoming.headers['proxy-authorization'])) {
        return void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      }
      const upstream = connect(Number(incoming.url?.split(':').at(-1)), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
      });
      upstream.on('error', () => socket.destroy());
      socket.on('error', () => upstream.destroy());
      upstream.pipe(socket).pipe(upstream);
    });
  }

  static async start(login?: string): Promise<ForwardProxy> {
    const proxy = new ForwardProxy(login);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** Its URL, with the login. */
  get url(): string {
    const login = this.#login === undefined ? '' : `${this.#login}@`;
    return `http://${login}127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #allows(authorization: string | undefined): boolean {
    return this.#login === undefined || authorization === `Basic ${Buffer.from(this.#login).toString('base64')}`;
  }
}

import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';

/** What went through a relay: requests and bytes of response bodies. */
export interface Traffic {
  readonly requests: number;
  readonly bytes: number;
}

/** One request as the relay saw it; `bytes` grows while the body passes. */
export interface RelayedRequest {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly agent: string;
  status: number;
  bytes: number;
}

/**
 * An HTTP reverse proxy on 127.0.0.1 in front of a registry that counts what each client fetches, byte by byte while it
 * passes. Clients are told apart by their User-Agent. Headers go through as they are, so the registry's Location
 * headers point back to the relay.
 */
export class Relay implements AsyncDisposable {
  readonly requests: RelayedRequest[] = [];
  /** Called before a request is passed on: a number answers with that status instead, as a broken registry would. */
  intercept: ((request: RelayedRequest) => number | undefined | Promise<number | undefined>) | undefined;
  readonly #server: Server;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #upstreamPort: number;

  private constructor(upstreamPort: number) {
    this.#upstreamPort = upstreamPort;
    this.#server = createServer({ highWaterMark: 1024 * 1024 }, (incoming, outgoing) => {
      this.#pass(incoming, outgoing).catch(() => outgoing.destroy());
    });
  }

  /** Listens on `port`, or on any free one, and passes everything to `upstreamPort`. */
  static async start(upstreamPort: number, port = 0): Promise<Relay> {
    const relay = new Relay(upstreamPort);
    relay.#server.listen(port, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get port(): number {
    const address = this.#server.address();
    if (typeof address !== 'object' || address === null) throw new Error('The relay is closed');
    return address.port;
  }

  /** The registry as references name it. */
  get host(): string {
    return `localhost:${this.port}`;
  }

  /** The sums over the requests from number `since` on whose User-Agent matches. */
  traffic(agent = /^/, since = 0): Traffic {
    const chosen = this.requests.slice(since).filter((request) => agent.test(request.agent));
    return { requests: chosen.length, bytes: chosen.reduce((sum, request) => sum + request.bytes, 0) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await once(this.#server, 'close');
  }

  async #pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const record: RelayedRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      range: incoming.headers.range,
      agent: incoming.headers['user-agent'] ?? '',
      status: 0,
      bytes: 0,
    };
    this.requests.push(record);
    const refused = await this.intercept?.(record);
    if (refused !== undefined) {
      record.status = refused;
      outgoing.writeHead(refused).end();
      return;
    }
    const upstream = request({
      host: '127.0.0.1',
      port: this.#upstreamPort,
      method: record.method,
      path: record.path,
      headers: incoming.headers,
      agent: this.#agent,
    });
    upstream.once('error', () => outgoing.destroy());
    outgoing.once('close', () => {
      if (!outgoing.writableFinished) upstream.destroy();
    });
    incoming.pipe(upstream);
    upstream.once('response', (answer) => {
      record.status = answer.statusCode ?? 0;
      outgoing.writeHead(record.status, answer.headers);
      answer.on('data', (bytes: Buffer) => {
        record.bytes += bytes.length;
      });
      answer.once('error', () => outgoing.destroy());
      answer.pipe(outgoing);
    });
  }
}

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { LinkShape } from '../link.ts';
import { Lane, type Parcel } from './lane.ts';
import { type RequestHead, RequestHeads } from './request-heads.ts';

/** What went over a link. Bytes are those of the connections, heads included, without TCP's and IP's own. */
export interface Traffic {
  readonly connections: number;
  readonly requests: readonly RequestHead[];
  readonly bytesUp: number;
  /** What the registry sent, by the User-Agent that it was sent to. */
  readonly bytesDown: Readonly<Record<string, number>>;
}

/**
 * A TCP relay on 127.0.0.1 that makes the registry behind it look as far away as the link is long. A client's first
 * byte leaves one round trip after it connected, as after a handshake, and all that it sends and gets is late by half a
 * round trip.
 */
export class ShapedLink implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #upstreamPort: number;
  readonly #roundTripMs: number;
  readonly #up: Lane;
  readonly #down: Lane;
  #connections = 0;
  #requests: RequestHead[] = [];
  #bytesUp = 0;
  #bytesDown: Record<string, number> = {};

  private constructor({ roundTripMs, megabitsPerSecond }: LinkShape, upstreamPort: number) {
    const bytesPerMs = (megabitsPerSecond * 1e6) / 8 / 1000;
    this.#roundTripMs = roundTripMs;
    this.#up = new Lane(bytesPerMs, roundTripMs / 2);
    this.#down = new Lane(bytesPerMs, roundTripMs / 2);
    this.#upstreamPort = upstreamPort;
    const options = { allowHalfOpen: true, noDelay: true, pauseOnConnect: true, highWaterMark: 1024 * 1024 };
    this.#server = createServer(options, (client) => this.#accept(client));
  }

  /** Listens on a free port and passes everything to `upstreamPort`. */
  static async open(shape: LinkShape, upstreamPort: number): Promise<ShapedLink> {
    const link = new ShapedLink(shape, upstreamPort);
    link.#server.listen(0, '127.0.0.1');
    await once(link.#server, 'listening');
    return link;
  }

  get port(): number {
    const address = this.#server.address();
    if (typeof address !== 'object' || address === null) throw new Error('The link is closed');
    return address.port;
  }

  /** What went over the link since it was asked last. */
  take(): Traffic {
    const traffic = {
      connections: this.#connections,
      requests: this.#requests,
      bytesUp: this.#bytesUp,
      bytesDown: this.#bytesDown,
    };
    this.#connections = 0;
    this.#requests = [];
    this.#bytesUp = 0;
    this.#bytesDown = {};
    return traffic;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    this.#connections++;
    let agent = '';
    const heads = new RequestHeads((head) => {
      agent = head.agent;
      this.#requests.push(head);
    });
    const upstream = connect({ host: '127.0.0.1', port: this.#upstreamPort, noDelay: true, allowHalfOpen: true });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.once('close', () => {
        this.#sockets.delete(socket);
        if (!socket.readableEnded) other.destroy();
      });
    }
    carry(upstream, client, this.#down, (bytes) => {
      this.#bytesDown[agent] = (this.#bytesDown[agent] ?? 0) + bytes.length;
    });
    setTimeout(() => {
      carry(client, upstream, this.#up, (bytes) => {
        heads.feed(bytes);
        this.#bytesUp += bytes.length;
      });
      client.resume();
    }, this.#roundTripMs);
  }
}

/** Carries what `from` sends over the lane to `to`, in order and no faster than `to` takes it. */
function carry(from: Socket, to: Socket, lane: Lane, count: (bytes: Buffer) => void): void {
  const pace = () => {
    if (flow.full || to.writableNeedDrain) from.pause();
    else if (from.isPaused()) from.resume();
  };
  const arrived = (parcel: Parcel) => {
    if (to.destroyed) return;
    if (parcel === null) to.end();
    else to.write(parcel);
  };
  const flow = lane.flow(arrived, pace);
  to.on('drain', pace);
  from.on('data', (bytes: Buffer) => {
    count(bytes);
    flow.send(bytes);
    pace();
  });
  from.once('end', () => flow.send(null));
}

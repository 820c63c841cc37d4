import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { LazypullError } from '../errors.ts';

/** A listening server. `port` is its real port if 0 was asked for. */
export interface ListeningServer extends AsyncDisposable {
  readonly port: number;
}

/**
 * Makes a server listen; it does not keep the program alive. Disposing of the result ends its connections too.
 *
 * @param maxConnections one too many replaces the oldest that never asked for anything, else the one that has been idle
 * for longest; if all of them wait for an answer, it is refused
 * @param problem the message if it cannot listen
 * @throws FailedPrecondition with the problem
 */
export async function listen(
  server: Server,
  address: { readonly host: string; readonly port: number },
  problem: string,
  maxConnections: number,
): Promise<ListeningServer> {
  boundConnections(server, maxConnections);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(new LazypullError('FailedPrecondition', problem, { cause })));
    server.listen({ host: address.host, port: address.port }, resolve);
  });
  server.unref();
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Connections in the order in which they came; those that asked for something come after all others. */
function boundConnections(server: Server, max: number): void {
  /** How many requests of each are being answered. */
  const silent = new Map<Socket, number>();
  const known = new Map<Socket, number>();
  server.on('connection', (socket) => {
    if (silent.size + known.size >= max) {
      const [first] = silent.keys();
      const out = first ?? [...known].find(([, answered]) => answered === 0)?.[0];
      if (out === undefined) {
        socket.destroy();
        return;
      }
      silent.delete(out);
      known.delete(out);
      out.destroy();
    }
    silent.set(socket, 0);
    socket.once('close', () => {
      silent.delete(socket);
      known.delete(socket);
    });
  });
  server.on('request', ({ socket }, response) => {
    if (socket.destroyed) return;
    const before = known.get(socket) ?? 0;
    silent.delete(socket);
    known.delete(socket);
    known.set(socket, before + 1);
    response.once('close', () => {
      const answered = known.get(socket);
      if (answered === undefined) return;
      known.delete(socket); // it is idle from now on
      known.set(socket, answered - 1);
    });
  });
}

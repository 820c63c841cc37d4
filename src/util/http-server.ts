import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { LazypullError } from '../errors.ts';

/** A listening server. `port` is the one it got where 0 was asked for. */
export interface ListeningServer extends AsyncDisposable {
  readonly port: number;
}

/**
 * Has a server listen; it does not keep the program alive. Disposing of the result ends its connections too.
 *
 * @param problem what to say where it cannot listen
 * @throws FailedPrecondition with the problem
 */
export async function listen(
  server: Server,
  address: { readonly host: string; readonly port: number },
  problem: string,
): Promise<ListeningServer> {
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

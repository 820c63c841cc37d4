import { createServer, type Socket } from 'node:net';
import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { LazypullError, messageOf } from '../errors.ts';
import { peerPid } from '../kernel/unix-socket.ts';
import type { Log } from '../log.ts';
import { Connections } from '../rpc/client-connections.ts';
import { type Bridged, peerOf } from '../rpc/bridge.ts';
import { addHealth } from '../rpc/health.ts';
import type { CallMetrics } from '../rpc/metrics.ts';
import { addSnapshots } from './service.ts';
import type { Snapshots } from './snapshot.ts';
import type { StoreOwner } from './store-owner.ts';

const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const MAX_CALLS_PER_CONNECTION = 1024;

/**
 * After so long without a sign of life a client is asked for one. If it gives none, it is given up. The time is long,
 * so that a client that is stopped for a while keeps its calls.
 */
const KEEPALIVE_MS = 600_000;
const KEEPALIVE_ANSWER_MS = 300_000;

/**
 * A listening server. `close` refuses new calls, waits at most `graceMs` for those under way, and ends the connections.
 */
export interface SnapshotsServer {
  close(graceMs: number): Promise<void>;
}

/**
 * Serves a snapshotter, with health checks and `more` services, on a listening socket.
 *
 * @param client which process may change something; undefined if all may
 * @param isWell the answer to health checks
 * @param fd the socket's descriptor, which is closed in the end; its file, if it has one, is the caller's
 * @throws Unavailable if it cannot listen
 */
export async function serveSnapshots(
  fd: number,
  snapshots: Snapshots,
  log: Log,
  metrics?: CallMetrics,
  more: readonly Bridged[] = [],
  client?: StoreOwner,
  isWell: () => boolean = () => true,
): Promise<SnapshotsServer> {
  // It would print on standard error what also comes to us as an error.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_concurrent_streams': MAX_CALLS_PER_CONNECTION,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_ANSWER_MS,
  });
  addSnapshots(server, snapshots, log, metrics, client);
  for (const { definition, implementation } of more) server.addService(definition, implementation);
  const health = addHealth(server, isWell, log);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const connections = new Connections();
  const listener = createServer((connection) => {
    nameProcess(connection);
    connections.add(connection);
    injector.injectConnection(connection);
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', (cause) => reject(new LazypullError('Unavailable', 'Cannot listen', { cause })));
    listener.listen({ fd }, resolve);
  });
  listener.on('error', (error) => log.error({ error: messageOf(error) }, 'cannot accept a connection'));
  return {
    close: (graceMs) =>
      new Promise((resolve) => {
        listener.close();
        health.stop();
        // A connection that never spoke HTTP/2 keeps tryShutdown waiting, even after forceShutdown.
        const force = setTimeout(() => {
          server.forceShutdown();
          connections.close();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      }),
  };
}

/**
 * Sets the process at the other end of a connection as its remote address, which a unix socket does not have. So the
 * calls on it can tell the process.
 */
function nameProcess(connection: Socket): void {
  const { _handle: handle } = connection as Socket & { readonly _handle?: { readonly fd?: number } };
  if (handle?.fd === undefined || handle.fd < 0) return;
  let pid = 0;
  try {
    pid = peerPid(handle.fd);
  } catch {
    // The connection has ended already, and no calls will come.
  }
  Object.defineProperty(connection, 'remoteAddress', { value: peerOf(pid) });
}

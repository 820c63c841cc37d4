import { chmod } from 'node:fs/promises';
import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { LazypullError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Bridged, CallMetrics } from './grpc.ts';
import { addHealth } from './health.ts';
import { addSnapshots } from './service.ts';
import type { Snapshots } from './snapshot.ts';

const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** A listening server. `close` refuses new calls, waits at most `graceMs` for those under way, and ends the connections. */
export interface SnapshotsServer {
  close(graceMs: number): Promise<void>;
}

/**
 * Serves a snapshotter, with health checks and `more` services, on a unix socket that only its owner may use. Nothing may be at `path`; the caller has dealt with an old socket.
 * Unavailable when it cannot listen.
 */
export async function serveSnapshots(
  path: string,
  snapshots: Snapshots,
  log: Log,
  metrics?: CallMetrics,
  more: readonly Bridged[] = [],
): Promise<SnapshotsServer> {
  // What it would say, in plain text on standard error, comes to us as an error.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  });
  addSnapshots(server, snapshots, log, metrics);
  for (const { definition, implementation } of more) server.addService(definition, implementation);
  const health = addHealth(server, log);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
      if (error) reject(new LazypullError('Unavailable', `Cannot listen on "${path}"`, { cause: error }));
      else resolve();
    });
  });
  await chmod(path, 0o600);
  return {
    close: (graceMs) =>
      new Promise((resolve) => {
        health.stop();
        // A connection that never spoke HTTP/2 keeps tryShutdown waiting, also after forceShutdown.
        const force = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      }),
  };
}

import type { Server } from '@grpc/grpc-js';
import { LazypullError } from '../errors.ts';
import { HealthCheckResponse_ServingStatus as Serving, Health } from '../gen/health/v1/health_pb.ts';
import { Snapshots } from '../gen/services/snapshots/v1/snapshots_pb.ts';
import type { Log } from '../log.ts';
import { bridge } from './grpc.ts';

/** Adds `grpc.health.v1.Health`: the server and its snapshots service are healthy from now until `stop`, which ends every watch. */
export function addHealth(server: Server, log: Log): { stop(): void } {
  const stopped = new AbortController();
  const statusOf = (service: string) => {
    if (service !== '' && service !== Snapshots.typeName) return Serving.SERVICE_UNKNOWN;
    return stopped.signal.aborted ? Serving.NOT_SERVING : Serving.SERVING;
  };
  const { definition, implementation } = bridge(
    Health,
    {
      check({ service }) {
        const status = statusOf(service);
        if (status !== Serving.SERVICE_UNKNOWN) return { status };
        throw new LazypullError('NotFound', `The service "${service.slice(0, 256)}" is not served`);
      },
      async *watch({ service }, signal) {
        yield { status: statusOf(service) };
        await ended(AbortSignal.any([signal, stopped.signal]));
        yield { status: statusOf(service) };
      },
    },
    log,
  );
  server.addService(definition, implementation);
  return { stop: () => stopped.abort() };
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

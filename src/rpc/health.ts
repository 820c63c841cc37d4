import { setTimeout as sleep } from 'node:timers/promises';
import type { Server } from '@grpc/grpc-js';
import { LazypullError } from '../errors.ts';
import { HealthCheckResponse_ServingStatus as Serving, Health } from '../gen/health/v1/health_pb.ts';
import { Snapshots } from '../gen/services/snapshots/v1/snapshots_pb.ts';
import type { Log } from '../log.ts';
import { bridge } from './bridge.ts';

/** How often a watch checks whether its answer has changed. */
const lookMs = 500;

/**
 * Adds `grpc.health.v1.Health`: the server and its snapshots service are healthy while `isWell`, until `stop`, which
 * ends every watch.
 */
export function addHealth(server: Server, isWell: () => boolean, log: Log): { stop(): void } {
  const stopped = new AbortController();
  const statusOf = (service: string) => {
    if (service !== '' && service !== Snapshots.typeName) return Serving.SERVICE_UNKNOWN;
    return !stopped.signal.aborted && isWell() ? Serving.SERVING : Serving.NOT_SERVING;
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
        const over = AbortSignal.any([signal, stopped.signal]);
        for (let last: Serving | undefined; ; ) {
          const isLast = over.aborted;
          const status = statusOf(service);
          if (status !== last) yield { status };
          if (isLast) return;
          last = status;
          await sleep(lookMs, undefined, { signal: over, ref: false }).catch(() => undefined);
        }
      },
    },
    log,
  );
  server.addService(definition, implementation);
  return { stop: () => stopped.abort() };
}

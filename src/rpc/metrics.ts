import { MetricsRegistry } from '../metrics.ts';

/** From an answer out of SQLite to a layer in a distant registry. */
const callBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Metrics of a service's calls. */
export type CallMetrics = ReturnType<typeof callMetrics>;

/** @param begin is called when a call of a method begins */
export function callMetrics(metrics = new MetricsRegistry(), begin: () => void = () => undefined) {
  return {
    begin,
    calls: metrics.counter('lazypull_grpc_requests_total', 'Calls of gRPC methods, by how they ended.', {
      method: [],
      code: [],
    }),
    callSeconds: metrics.histogram(
      'lazypull_grpc_request_seconds',
      'How long calls of gRPC methods took.',
      callBounds,
      { method: [] },
    ),
  };
}

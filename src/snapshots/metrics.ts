import { refusalReasons } from '../layers/resolve/refusal.ts';
import { MetricsRegistry } from '../metrics.ts';
import { callMetrics } from '../rpc/metrics.ts';

/** What the snapshotter tells about itself. */
export type SnapshotMetrics = ReturnType<typeof snapshotMetrics>;

/** @param begin is called when a call of a method begins */
export function snapshotMetrics(metrics = new MetricsRegistry(), begin?: () => void) {
  return {
    prepared: metrics.counter(
      'lazypull_snapshots_prepared_total',
      'Layers that a client asked for: lazy, or left to the client to pull for the reason given.',
      { outcome: ['lazy', 'refused'], reason: ['none', ...refusalReasons] },
    ),
    stored: metrics.gauge('lazypull_snapshots_stored', 'Snapshots of each client by kind.', {
      client: [],
      kind: ['view', 'active', 'committed'],
    }),
    ...callMetrics(metrics, begin),
  };
}

import { MetricsRegistry } from '../metrics.ts';

/** From a read of the disk to several requests to a distant registry. */
const waitBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** How reads end. The index of each is also the index of its count in shared memory. */
export const outcomes = ['hit', 'miss', 'error'] as const;

/** Metrics of the FUSE server. */
export type FuseMetrics = ReturnType<typeof fuseMetrics>;

/** @param begin is called when a read begins to wait for data */
export function fuseMetrics(metrics = new MetricsRegistry(), begin: () => void = () => undefined) {
  return {
    begin,
    reads: metrics.counter(
      'lazypull_fuse_reads_total',
      'Reads by the kernel: answered at once (hit), after fetching (miss), or with an I/O error (error).',
      { outcome: outcomes },
    ),
    waitSeconds: metrics.histogram(
      'lazypull_fuse_read_wait_seconds',
      'How long reads waited for data that had to be fetched.',
      waitBounds,
    ),
    lost: metrics.counter(
      'lazypull_fuse_connections_lost_total',
      'FUSE connections that were aborted: readers of layers then get I/O errors, and everything is mounted again.',
    ),
    connected: metrics.gauge(
      'lazypull_fuse_connected',
      '1 while there is a FUSE connection to serve layers by, else 0.',
    ),
    waiting: metrics.gauge('lazypull_fuse_waiting_reads', 'Reads that wait for data now.'),
  };
}

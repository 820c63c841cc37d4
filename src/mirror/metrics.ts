import { MetricsRegistry } from '../metrics.ts';

/** Where the bytes of blobs came from. */
const sources = ['node', 'registry'] as const;

/** Metrics of the mirror. */
export type MirrorMetrics = ReturnType<typeof mirrorMetrics>;

/** @param begin is called when a request begins */
export function mirrorMetrics(metrics = new MetricsRegistry(), begin: () => void = () => undefined) {
  return {
    begin,
    requests: metrics.counter(
      'lazypull_mirror_requests_total',
      'Requests of clients of the mirror, by the class of the status.',
      {
        status: ['2xx', '4xx', '5xx'],
      },
    ),
    sentBytes: metrics.counter(
      'lazypull_mirror_sent_bytes_total',
      'Bytes of blobs sent to clients of the mirror: those that this node had, and those that it fetched for them.',
      { from: sources },
    ),
    reusedBytes: metrics.counter(
      'lazypull_mirror_reused_bytes_total',
      'Bytes that layers got from kept blobs instead of the registry.',
    ),
    wrongBlobs: metrics.counter(
      'lazypull_mirror_wrong_blobs_total',
      'Kept blobs that were thrown away because something in them was wrong.',
    ),
    keptBytes: metrics.gauge('lazypull_mirror_kept_bytes', 'Disk space that kept blobs take.'),
  };
}

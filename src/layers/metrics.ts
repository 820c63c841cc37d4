import { MetricsRegistry } from '../metrics.ts';

/**
 * Why data of a layer is fetched: a reader waits for it, it is likely to be read, the whole layer is being read, the
 * link is idle, it is the layer's index, or a layer without an index is pulled.
 */
export const fetchReasons = ['demand', 'prefetch', 'sweep', 'background', 'index', 'pull'] as const;
export type FetchReason = (typeof fetchReasons)[number];

/** Metrics of the lazy layers. */
export type LayerMetrics = ReturnType<typeof layerMetrics>;

export function layerMetrics(metrics = new MetricsRegistry()) {
  return {
    mounted: metrics.gauge('lazypull_layers_mounted', 'Layers that are mounted.'),
    remounted: metrics.counter(
      'lazypull_layers_remounted_total',
      'Layers mounted again, because another program had unmounted them or mounted something else in their place.',
    ),
    incomplete: metrics.gauge('lazypull_layers_incomplete', 'Mounted layers that are not all on the disk.'),
    fetchedBytes: metrics.counter('lazypull_layers_fetched_bytes_total', 'Bytes of layers fetched, by reason.', {
      reason: fetchReasons,
    }),
    fetches: metrics.counter('lazypull_layers_fetches_total', 'Fetches of parts of layers, by reason.', {
      reason: fetchReasons,
    }),
    failures: metrics.counter(
      'lazypull_layers_fetch_failures_total',
      'Fetches of parts of layers that failed for good, by reason.',
      { reason: fetchReasons },
    ),
    verificationFailures: metrics.counter(
      'lazypull_layers_verification_failures_total',
      'Chunks that could not be unpacked or did not have their digest.',
    ),
    unpackQueueBytes: metrics.gauge(
      'lazypull_layers_unpack_queue_bytes',
      'Fetched bytes that wait to be inflated, verified and written.',
    ),
    cacheBytes: metrics.gauge('lazypull_layers_cache_bytes', 'Disk space that the files of all layers take.'),
    cacheFull: metrics.gauge(
      'lazypull_layers_cache_full',
      '1 while layers in use take all of the space for layers: nothing is fetched before it is read.',
    ),
    removed: metrics.counter('lazypull_layers_removed_total', 'Layers removed from the disk to make space.'),
    damaged: metrics.counter('lazypull_layers_damaged_total', 'Chunks that were damaged on the disk.'),
    unwritten: metrics.counter('lazypull_layers_unwritten_total', 'Chunks that the disk did not take.'),
  };
}

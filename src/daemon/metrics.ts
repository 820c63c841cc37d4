import { fuseMetrics } from '../fuse/metrics.ts';
import { layerMetrics } from '../layers/metrics.ts';
import { indexMetrics } from '../indexes/metrics.ts';
import { MetricsRegistry } from '../metrics.ts';
import { mirrorMetrics } from '../mirror/metrics.ts';
import { registryMetrics } from '../registry/metrics.ts';
import { snapshotMetrics } from '../snapshots/metrics.ts';
import { version } from '../version.ts';
import { WorkSignal } from './event-loop-lag.ts';

/** Most are around 20 ms: the event loop should not be blocked for longer. */
const delayBounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1];

/** All metrics of a daemon: a group for each room, and `all` of them together. */
export type DaemonMetrics = ReturnType<typeof daemonMetrics>;

/** Declares the metrics of a daemon. They count from 0. */
export function daemonMetrics() {
  const all = new MetricsRegistry();
  const work = new WorkSignal();
  const begin = () => work.give();
  all
    .gauge('lazypull_build_info', 'Always 1; the labels tell the versions of lazypull and Node.', {
      version: [],
      node: [],
    })
    .set(1, { version, node: process.versions.node });
  const metrics = {
    all,
    snapshots: snapshotMetrics(all, begin),
    layers: layerMetrics(all),
    fuse: fuseMetrics(all, begin),
    registry: registryMetrics(all),
    indexes: indexMetrics(all),
    mirror: mirrorMetrics(all, begin),
    delay: {
      work,
      seconds: all.histogram(
        'lazypull_event_loop_delay_seconds',
        'How late a timer of 10 ms was, which runs while there is work: how long other work blocked the event loop.',
        delayBounds,
      ),
      ownSeconds: all.histogram(
        'lazypull_event_loop_own_delay_seconds',
        'How much of such a delay was processor time of the event loop itself; the rest it waited for a processor or the disk.',
        delayBounds,
      ),
      maxSeconds: all.gauge(
        'lazypull_event_loop_delay_max_seconds',
        'The longest such delay of the last one to two minutes.',
      ),
    },
  };
  processMetrics(all);
  return metrics;
}

function processMetrics(all: MetricsRegistry): void {
  all
    .gauge('lazypull_memory_heap_bytes', "Memory of the main thread's JavaScript heap in use.")
    .from(() => process.memoryUsage().heapUsed);
  all
    .gauge('lazypull_memory_external_bytes', 'Memory of buffers outside of the JavaScript heap.')
    .from(() => process.memoryUsage().external);
  all
    .gauge('process_resident_memory_bytes', 'Memory of the process with all its threads.')
    .from(() => process.memoryUsage.rss());
  all.counter('process_cpu_seconds_total', 'Processor time of all threads.').from(() => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  all
    .gauge('process_start_time_seconds', 'When the process started, in seconds since 1970.')
    .set(performance.timeOrigin / 1000);
}

import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8';
import type { Log } from '../log.ts';

/** At every SIGUSR1, writes a report about the process to the log: memory, open handles, time spent. */
export function reportOnSignal(log: Log): Disposable {
  const write = () => log.info({ report: makeReport() }, 'Report');
  process.on('SIGUSR1', write);
  return { [Symbol.dispose]: () => process.off('SIGUSR1', write) };
}

/**
 * The state of this process in figures. Node's own diagnostic report cannot be used: it asks every thread and waits for
 * the answer, and the thread that reads /dev/fuse may not answer for hours.
 */
function makeReport(): object {
  const { utilization } = performance.eventLoopUtilization();
  return {
    uptime_seconds: Math.round(process.uptime()),
    memory: process.memoryUsage(),
    heap: getHeapStatistics(),
    heap_spaces: Object.fromEntries(
      getHeapSpaceStatistics().map((space) => [space.space_name, space.physical_space_size]),
    ),
    resources: process.resourceUsage(),
    event_loop_utilization: Math.round(utilization * 1000) / 1000,
    active: countByName(process.getActiveResourcesInfo()),
  };
}

function countByName(names: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

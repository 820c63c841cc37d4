import { type Log } from '../log.ts';

/** Writes what the process is doing to the log at every SIGUSR1: memory, stack, open handles, event loop use. */
export function reportOnSignal(log: Log): Disposable {
  const write = () => log.info({ report: makeReport() }, 'Report');
  process.on('SIGUSR1', write);
  return { [Symbol.dispose]: () => process.off('SIGUSR1', write) };
}

/** The parts of Node's diagnostic report that help. The environment is left out, as it may hold secrets. */
export function makeReport(): object {
  Object.assign(process.report, { excludeNetwork: true, excludeEnv: true });
  const report = process.report.getReport() as unknown as Record<string, unknown>;
  return {
    memory: process.memoryUsage(),
    resources: process.resourceUsage(),
    uptime_seconds: Math.round(process.uptime()),
    active: countByName(process.getActiveResourcesInfo()),
    javascriptStack: report.javascriptStack,
    javascriptHeap: report.javascriptHeap,
    workers: (Array.isArray(report.workers) ? report.workers : []).length,
  };
}

function countByName(names: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

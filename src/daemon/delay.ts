import { type Log } from '../log.ts';
import type { DaemonMetrics } from './metrics.ts';

const intervalMs = 10;
const reportMs = 5_000;
const windowMs = 60_000;

/** From here on clients notice: Stat and Update are answered in under a millisecond otherwise. */
const thresholdMs = 20;

/** Measures how long the event loop is blocked. Logs at debug, every few seconds, the longest time when that was more than 20 ms. */
export function watchDelay(log: Log, metrics: DaemonMetrics['delay']): Disposable {
  let last = performance.now();
  let cpu = process.threadCpuUsage();
  let reportMax = 0;
  let windowMax = 0;
  let windowBeforeMax = 0;
  metrics.maxSeconds.from(() => Math.max(windowMax, windowBeforeMax) / 1000);
  const timers = [
    setInterval(() => {
      const now = performance.now();
      const delayMs = Math.max(0, now - last - intervalMs);
      last = now;
      reportMax = Math.max(reportMax, delayMs);
      windowMax = Math.max(windowMax, delayMs);
      metrics.seconds.observe(delayMs / 1000);
      const { user, system } = process.threadCpuUsage(cpu);
      cpu = process.threadCpuUsage();
      metrics.ownSeconds.observe(Math.min(delayMs / 1000, (user + system) / 1e6));
    }, intervalMs),
    setInterval(() => {
      if (reportMax > thresholdMs) log.debug({ max_ms: Math.round(reportMax) }, 'Event loop was blocked');
      reportMax = 0;
    }, reportMs),
    setInterval(() => {
      windowBeforeMax = windowMax;
      windowMax = 0;
    }, windowMs),
  ];
  for (const timer of timers) timer.unref();
  return {
    [Symbol.dispose]() {
      for (const timer of timers) clearInterval(timer);
    },
  };
}

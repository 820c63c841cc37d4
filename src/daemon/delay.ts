import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Log } from '../log.ts';

const resolutionMs = 10;
const intervalMs = 5_000;

/** From here on clients notice: Stat and Update are answered in under a millisecond otherwise. */
const thresholdMs = 20;

/** Logs at debug, every few seconds, the longest time that the event loop was blocked when that was more than 20 ms. */
export function watchDelay(log: Log): Disposable {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  const timer = setInterval(() => {
    const maxMs = Math.round(histogram.max / 1e6) - resolutionMs;
    histogram.reset();
    if (maxMs > thresholdMs) log.debug({ max_ms: maxMs }, 'Event loop was blocked');
  }, intervalMs);
  timer.unref();
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}

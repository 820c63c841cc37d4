import { type Log } from '../log.ts';
import type { DaemonMetrics } from './metrics.ts';

const intervalMs = 10;
const reportMs = 5_000;
const windowMs = 60_000;

/** After so many ticks without events for the event loop, the timer rests. */
const quietTicks = 25;

/** Clients notice delays above this: Stat and Update are answered in under a millisecond otherwise. */
const thresholdMs = 20;

/** Tells one listener that there is work, from any source. */
export class WorkSignal {
  listener: (() => void) | undefined;

  give(): void {
    this.listener?.();
  }
}

/**
 * Measures how long the event loop is blocked, from the signal that there is work until nothing has happened for a
 * while, so that an idle daemon sleeps. Every few seconds it logs the longest delay at debug level, if that was more
 * than 20 ms.
 */
export function watchDelay(log: Log, metrics: DaemonMetrics['delay']): Disposable {
  const watch = new DelayWatch(log, metrics);
  metrics.work.listener = () => watch.start();
  metrics.maxSeconds.from(() => watch.maxMs() / 1000);
  watch.start();
  return {
    [Symbol.dispose]() {
      metrics.work.listener = undefined;
      watch.stop();
    },
  };
}

class DelayWatch {
  readonly #log: Log;
  readonly #metrics: DaemonMetrics['delay'];
  #timer: NodeJS.Timeout | undefined;
  /**
   * At the last tick: the time, the thread's processor time in microseconds, and the number of events that the loop
   * got.
   */
  #last = 0;
  #cpu = 0;
  #events = 0;
  #quiet = 0;
  /** The longest delay since the last report; and in the present minute or so, and in the one before. */
  #report = { sinceMs: 0, maxMs: 0 };
  #window = { sinceMs: 0, maxMs: 0 };
  #windowBefore = { sinceMs: 0, maxMs: 0 };

  constructor(log: Log, metrics: DaemonMetrics['delay']) {
    this.#log = log;
    this.#metrics = metrics;
  }

  start(): void {
    this.#quiet = 0;
    if (this.#timer !== undefined) return;
    this.#last = performance.now();
    this.#cpu = threadCpuMicros();
    this.#timer = setInterval(() => this.#tick(), intervalMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** The longest delay of the last one to two minutes. */
  maxMs(): number {
    this.#turn(performance.now());
    return Math.max(this.#window.maxMs, this.#windowBefore.maxMs);
  }

  #tick(): void {
    const now = performance.now();
    const cpu = threadCpuMicros();
    const delayMs = Math.max(0, now - this.#last - intervalMs);
    this.#metrics.seconds.observe(delayMs / 1000);
    this.#metrics.ownSeconds.observe(Math.min(delayMs / 1000, (cpu - this.#cpu) / 1e6));
    this.#last = now;
    this.#cpu = cpu;
    this.#turn(now);
    this.#window.maxMs = Math.max(this.#window.maxMs, delayMs);
    this.#report.maxMs = Math.max(this.#report.maxMs, delayMs);
    const { events } = performance.nodeTiming.uvMetricsInfo;
    this.#quiet = events === this.#events ? this.#quiet + 1 : 0;
    this.#events = events;
    const rests = this.#quiet >= quietTicks;
    if (rests || now - this.#report.sinceMs >= reportMs) this.#write(now);
    if (rests) this.stop();
  }

  #turn(now: number): void {
    if (now - this.#window.sinceMs < windowMs) return;
    const isRecent = now - this.#window.sinceMs < 2 * windowMs;
    this.#windowBefore = isRecent ? this.#window : { sinceMs: 0, maxMs: 0 };
    this.#window = { sinceMs: now, maxMs: 0 };
  }

  #write(now: number): void {
    const { maxMs } = this.#report;
    if (maxMs > thresholdMs) this.#log.debug({ max_ms: Math.round(maxMs) }, 'Event loop was blocked');
    this.#report = { sinceMs: now, maxMs: 0 };
  }
}

function threadCpuMicros(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}

import type { DaemonConfig } from '../config/load.ts';
import { codeOf, errnoOf, explain, LazypullError, messageOf } from '../errors.ts';
import { exitNow } from '../kernel/exit.ts';
import { createLog } from '../process-log.ts';
import { runDaemon } from './daemon.ts';
import { acceptsHandover } from '../state/handover.ts';
import { reportOnSignal } from './self-report.ts';
import { daemonHangsUp, handoverSignal, stopSignal } from './signals.ts';

/** The longest time from the first signal to the end: process managers wait some 20 s before they kill. */
const maxStopMs = 18_000;

/**
 * Runs the daemon as a process: log on standard error, signals, and a last line for an uncaught error. Ends the
 * process, with 0 if a signal stopped the daemon and with 1 after a failure.
 */
export async function runDaemonProcess(config: DaemonConfig, env: NodeJS.ProcessEnv): Promise<never> {
  const log = createLog(config.logLevel, config.logFormat);
  const die = (error: unknown, message: string) => {
    try {
      log.fatal({ error: messageOf(error), stack: error instanceof Error ? error.stack : undefined }, message);
    } finally {
      exitNow(1);
    }
  };
  process.on('uncaughtException', (error) => die(error, 'Unexpected error'));
  process.on('unhandledRejection', (error) => die(error, 'Unexpected error'));
  // Node would print them itself, and treat an output that cannot be written as an unexpected error.
  process.removeAllListeners('warning');
  process.on('warning', (warning) => log.warn({ error: messageOf(warning) }, 'Node warns'));
  const signal = stopSignal(log, daemonHangsUp(env, log), () => acceptsHandover(config.root, log));
  signal.addEventListener('abort', () => {
    setTimeout(
      () => die(new Error(`Cannot stop in ${maxStopMs / 1000} s`), 'Ends without cleaning up'),
      maxStopMs,
    ).unref();
  });
  using _report = reportOnSignal(log);
  try {
    await runDaemon(config, env, log, signal);
  } catch (error) {
    if (!signal.aborted || codeOf(error) !== 'Canceled') {
      log.fatal({ error: startError(error, config.root) }, signal.aborted ? 'Stopped with an error' : 'Cannot start');
      exitNow(1);
    }
  }
  log.info({}, signal.reason === handoverSignal ? 'Handed over' : 'Stopped');
  exitNow(0);
}

/**
 * An error without a class comes from the disk: everything that is written before the daemon serves is below its root.
 */
function startError(error: unknown, root: string): string {
  const isOfDisk = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'ERR_SQLITE_ERROR'].includes(errnoOf(error) ?? '');
  if (error instanceof LazypullError || !isOfDisk) return explain(error);
  return `Cannot write below "${root}": ${messageOf(error)}; free some space there, or choose another --root`;
}

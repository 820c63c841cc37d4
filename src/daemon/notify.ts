import { messageOf } from '../errors.ts';
import { sendDatagram } from '../kernel/unix-socket.ts';
import { type Log } from '../log.ts';

/** A shorter interval would be a mistake. */
const minWatchdogMicros = 100_000;

/**
 * Tells the service manager our state as sd_notify(3) does. Does nothing if `socket` (the value of NOTIFY_SOCKET) is
 * absent. A failure is only logged.
 *
 * @param state assignments such as "READY=1", one a line
 */
export async function notifyManager(socket: string | undefined, state: string, log: Log): Promise<void> {
  if (socket === undefined || socket === '') return;
  try {
    await sendDatagram(socket, state);
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'Cannot notify the service manager');
  }
}

/**
 * Tells the service manager twice in each of its intervals that the event loop still runs, if it wants to know
 * (sd_watchdog_enabled(3)).
 */
export function feedWatchdog(env: NodeJS.ProcessEnv, log: Log): Disposable {
  const micros = Number(env.WATCHDOG_USEC);
  const isOurs = env.WATCHDOG_PID === undefined || env.WATCHDOG_PID === String(process.pid);
  if (!isOurs || !Number.isSafeInteger(micros) || micros < minWatchdogMicros) return { [Symbol.dispose]() {} };
  const timer = setInterval(() => void notifyManager(env.NOTIFY_SOCKET, 'WATCHDOG=1', log), micros / 2000).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

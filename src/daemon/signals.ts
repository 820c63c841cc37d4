import { constants } from 'node:os';
import { exitNow } from '../kernel/exit.ts';
import type { Log } from '../log.ts';

const stopSignals = ['SIGTERM', 'SIGINT'] as const;

/** The signal at which the daemon ends and leaves everything to the next one: the reason of the abort is its name. */
export const handoverSignal = 'SIGUSR2';

/**
 * A signal that aborts at the first SIGTERM, SIGINT or SIGUSR2, with the name of it as the reason. A SIGTERM or SIGINT after that ends the
 * process at once with the exit code of a process killed by it.
 */
export function stopSignal(log: Log): AbortSignal {
  const controller = new AbortController();
  for (const name of stopSignals) {
    process.on(name, () => {
      if (controller.signal.aborted) {
        log.warn({ signal: name }, 'Ends at once: second signal');
        exitNow(128 + constants.signals[name]);
      }
      log.info({ signal: name }, 'Stops');
      controller.abort(name);
    });
  }
  process.on(handoverSignal, () => {
    if (controller.signal.aborted) return;
    log.info({ signal: handoverSignal }, 'Hands over');
    controller.abort(handoverSignal);
  });
  return controller.signal;
}

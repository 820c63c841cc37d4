import { constants } from 'node:os';
import { exitNow } from '../kernel/exit.ts';
import type { Log } from '../log.ts';

const stopSignals = ['SIGTERM', 'SIGINT'] as const;

/**
 * A signal that aborts at the first SIGTERM or SIGINT, with the name of it as the reason. A second one ends the process at once
 * with the exit code of a process killed by it.
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
  return controller.signal;
}

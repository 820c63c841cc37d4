import { constants } from 'node:os';
import { exitNow, noteToldToEnd } from '../kernel/exit.ts';
import { hasTerminal } from '../kernel/pidfd.ts';
import type { Log } from '../log.ts';

const stopSignals = ['SIGTERM', 'SIGINT'] as const;

/** At this signal the daemon ends and leaves everything to the next one. The reason of the abort is its name. */
export const handoverSignal = 'SIGUSR2';

/** A closed terminal is gone at most this long after SIGHUP. */
const hangupMs = 100;

/**
 * A signal that aborts at the first SIGTERM or SIGINT, with the signal's name as the reason; at a SIGHUP if `isEnd`
 * resolves to true; and at a SIGUSR2 if `handsOver`. A SIGTERM or SIGINT after that ends the process at once, with the
 * exit code of a process killed by it.
 */
export function stopSignal(
  log: Log,
  isEnd: () => Promise<boolean>,
  handsOver: () => boolean = () => true,
): AbortSignal {
  const controller = new AbortController();
  const stop = (name: string) => {
    log.info({ signal: name }, 'Stops');
    noteToldToEnd();
    controller.abort(name);
  };
  for (const name of stopSignals) {
    process.on(name, () => {
      if (!controller.signal.aborted) return stop(name);
      log.warn({ signal: name }, 'Ends at once: second signal');
      exitNow(128 + constants.signals[name]);
    });
  }
  process.on('SIGHUP', () => {
    void isEnd().then((yes) => {
      if (yes && !controller.signal.aborted) stop('SIGHUP');
    });
  });
  process.on(handoverSignal, () => {
    if (controller.signal.aborted || !handsOver()) return;
    log.info({ signal: handoverSignal }, 'Hands over');
    controller.abort(handoverSignal);
  });
  return controller.signal;
}

/**
 * Whether a SIGHUP ends a program of a terminal. It does not under nohup(1), which the launcher tells us, because Node
 * ignores it.
 */
export function hangsUp(env: NodeJS.ProcessEnv): Promise<boolean> {
  return Promise.resolve(env.LAZYPULL_NOHUP === undefined);
}

/**
 * Decides what a SIGHUP means to a daemon. If the terminal that started it has been closed, it is the end. Otherwise it
 * asks to read the configuration again, which must not cost mounts in use: the log says what to do.
 */
export function daemonHangsUp(env: NodeJS.ProcessEnv, log: Log): () => Promise<boolean> {
  const hadTerminal = hasTerminal();
  return async () => {
    await new Promise((resolve) => setTimeout(resolve, hangupMs));
    if (hadTerminal && !hasTerminal()) return hangsUp(env);
    log.info(
      { signal: 'SIGHUP' },
      'config.toml is read only at the start: restart the daemon with SIGUSR2 or --takeover; credentials and hosts.toml are read when they are needed',
    );
    return false;
  };
}

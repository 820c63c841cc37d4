import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LazypullError } from '../errors.ts';
import { startDetached } from '../kernel/programs.ts';
import { listenerPid } from '../kernel/unix-socket.ts';

/** What is needed to start a program in the background. */
export interface Starter {
  env: NodeJS.ProcessEnv;
  /** Directory of the log files, one for each service. */
  logs: string;
  /** Tells the user. */
  say: (text: string) => void;
}

const startTimeoutMs = 60_000;
const pollMs = 50;

/** How much of the log is shown when a service does not start. */
const shownLogBytes = 2_000;

/**
 * Starts `command` in the background and waits until something listens at the unix socket `address`.
 *
 * @param name name of the service, for messages and for its log file
 * @param stop the command that ends it; undefined for kill(1)
 * @throws Unavailable with the end of its log if it ends or does not serve in time
 */
export async function startService(
  name: string,
  command: readonly string[],
  address: string,
  starter: Starter,
  stop?: string,
): Promise<void> {
  const log = join(starter.logs, `${name}.log`);
  const service = await startDetached(command, log, starter.env);
  const deadline = performance.now() + startTimeoutMs;
  let pid: number | undefined;
  while ((pid = await listenerPid(address)) === undefined) {
    const ended = service.ended();
    if (ended !== undefined || performance.now() > deadline) {
      const reason =
        ended === undefined ? `does not serve "${address}" after ${startTimeoutMs / 1000} s` : `ended with ${ended}`;
      throw new LazypullError('Unavailable', `Cannot start ${name}: it ${reason}; ${endOf(log)}`);
    }
    await sleep(pollMs);
  }
  const how = stop ?? `kill ${pid}`;
  starter.say(`Started ${name}, process ${pid}, which keeps running until "${how}"; log: ${log}`);
}

function endOf(log: string): string {
  const tail = tailOf(log);
  return tail === '' ? `see ${log}, which is empty, as it is on a full disk` : `see ${log}, which ends so:\n${tail}`;
}

function tailOf(path: string): string {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const tail = Buffer.alloc(Math.min(size, shownLogBytes));
    readSync(fd, tail, 0, tail.length, size - tail.length);
    return tail.toString('utf8').trimEnd();
  } finally {
    closeSync(fd);
  }
}

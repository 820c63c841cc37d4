import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../errors.ts';
import { commandLineOf, identityOf, isRunning, type ProcessIdentity, processIds } from './pidfd.ts';
import { isSamePath } from './real-path.ts';

const name = 'lazypull-restarter';

/** Within that time of its very first start, a program that ends by itself is taken for one that cannot start. */
const firstSeconds = 10;
/** After a life of that length the next start is not delayed. */
const longLifeSeconds = 60;
const maxDelaySeconds = 30;

const endMs = 2_000;
const pollMs = 5;

/**
 * The script of the shell. What the shell itself says about a program that was killed is no line of our log, and not
 * shown.
 */
const script = `
exec 3>&2 2>/dev/null
shift
delay=0 next=1 isFirst=yes
now() { read -r up _ < /proc/uptime && echo "\${up%.*}"; }
while :; do
  begun=$(now)
  (exec "$@" 2>&3 3>&-)
  status=$?
  lived=$(($(now) - begun))
  [ "$status" != 0 ] || exit 0
  [ -z "$isFirst" ] || [ "$status" -gt 128 ] || [ "$lived" -ge ${firstSeconds} ] || exit "$status"
  isFirst=
  [ "$lived" -lt ${longLifeSeconds} ] || delay=0 next=1
  how="exit code $status"
  [ "$status" -le 128 ] || how="signal $((status - 128))"
  printf '{"level":"error","time":"%s","ended":"%s","delaySeconds":%d,"msg":"the daemon has ended: another one is started"}\\n' \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$how" "$delay" >&3
  sleep "$delay"
  delay=$next next=$((next * 2))
  [ "$next" -le ${maxDelaySeconds} ] || next=${maxDelaySeconds}
done
`;

/**
 * The command line of a shell that runs a daemon, and starts it again whenever it was killed or has failed: at once,
 * and later after up to 30 s if it does not live for a minute. Each time it writes a line into the daemon's log. It
 * ends with a daemon that ends with 0, as it does when it was told to end or has handed over, and with one that cannot
 * start for the first time.
 *
 * @param root the daemon's root, which names the restarter
 */
export function restarting(root: string, command: readonly string[]): string[] {
  return ['/bin/sh', '-c', script, name, root, ...command];
}

/**
 * Ends the restarters of a root, and what they have just started: a program that does not have the root yet.
 *
 * @param hasRoot whether a program has it now; such a program goes on, for its caller to end it
 * @returns whether there were any
 */
export async function endRestarters(root: string, hasRoot: () => boolean): Promise<boolean> {
  const found = restartersOf(root);
  for (const restarter of found) {
    signal(restarter.pid, 'SIGKILL');
    await until(() => !isRunning(restarter));
    if (hasRoot()) continue;
    signal(-restarter.pid, 'SIGTERM');
    await until(() => !signal(-restarter.pid, 0));
  }
  return found.length > 0;
}

function restartersOf(root: string): ProcessIdentity[] {
  return processIds().flatMap((pid) => {
    const [, , , title, own] = commandLineOf(pid).split('\0');
    return title === name && own !== undefined && isSamePath(own, root) ? (identityOf(pid) ?? []) : [];
  });
}

/** @returns whether there is such a process, or a process in such a group, that we may send signals to */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH' || errnoOf(error) === 'EPERM') return false;
    throw error;
  }
}

async function until(isDone: () => boolean): Promise<void> {
  for (const deadline = performance.now() + endMs; !isDone() && performance.now() < deadline; ) await sleep(pollMs);
}

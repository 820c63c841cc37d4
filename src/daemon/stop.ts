import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fronts } from '../fronts/index.ts';
import { errnoOf, LazypullError } from '../errors.ts';
import { commandOf, controlGroupOf, identityOf, isRunning, type ProcessIdentity, variableOf } from '../kernel/pidfd.ts';
import { mountsBelow } from '../kernel/mount.ts';
import { isSamePath } from '../kernel/real-path.ts';
import { endRestarters } from '../kernel/restarter.ts';
import { listenerPid } from '../kernel/unix-socket.ts';
import { takeAway } from '../layers/stale-mounts.ts';
import { silentLog } from '../log.ts';
import { endKeeper, keeperOf } from './keeper.ts';
import { daemonAt, daemonOfRoot, type LivingDaemon } from './living.ts';
import { openRoot } from '../state/root.ts';

/** A daemon ends within 18 s of a signal, whatever happens. */
const maxWaitMs = 25_000;
const pollMs = 20;

/** What was stopped: a daemon, or the keeper of one that had ended without it. */
export interface Stopped {
  readonly daemon: number | undefined;
  readonly keeper: number | undefined;
  /** How many mounts are left below the root. */
  readonly mounts: number;
}

/**
 * Ends the daemon of a root directory as SIGTERM does, and waits until it, its mounts and its keeper are gone. If the
 * daemon was killed and its keeper is left, the keeper is ended, and everything is unmounted.
 *
 * @throws NotFound if there is neither; FailedPrecondition if a service manager would start it again, or if it is not a
 * daemon of lazypull; PermissionDenied; DeadlineExceeded if it does not end
 */
export async function stopDaemon(root: string, address: string): Promise<Stopped> {
  const wasRestarted = await endRestarters(root, () => daemonOfRoot(root) !== undefined);
  const at = await daemonAt(address);
  const daemon = at !== undefined && isSamePath(at.root, root) ? at : daemonOfRoot(root);
  const keeper = await keeperOf(root);
  if (daemon === undefined && keeper === undefined && !wasRestarted) throw await nothingToStop(root, address);
  if (daemon !== undefined) await end(daemon);
  // What is left of a daemon that cannot clean up any more.
  if ((await keeperOf(root)) !== undefined) await endLeft(root);
  return { daemon: daemon?.pid, keeper, mounts: (await mountsBelow(root)).filter((path) => path !== root).length };
}

async function end({ pid, root }: LivingDaemon): Promise<void> {
  const identity = identityOf(pid);
  if (identity === undefined) return;
  checkManager(pid);
  try {
    process.kill(pid, 'SIGTERM');
  } catch (cause) {
    if (errnoOf(cause) === 'ESRCH') return;
    throw new LazypullError('PermissionDenied', `Cannot stop process ${pid}, which is another user's`, {
      hint: 'run this as root',
    });
  }
  await gone(identity);
  const next = daemonOfRoot(root);
  if (next === undefined) return;
  throw new LazypullError(
    'FailedPrecondition',
    `Process ${pid} has ended, and something has started another daemon with the root "${root}" already, process ${next.pid}: stop what starts it`,
  );
}

async function gone(identity: ProcessIdentity): Promise<void> {
  for (const deadline = performance.now() + maxWaitMs; isRunning(identity); await sleep(pollMs)) {
    if (performance.now() < deadline) continue;
    throw new LazypullError(
      'DeadlineExceeded',
      `Process ${identity.pid} did not end in ${maxWaitMs / 1000} s after SIGTERM: its log says what it waits for`,
    );
  }
}

/** If systemd runs the service, systemd must stop it. */
function checkManager(pid: number): void {
  if (variableOf(pid, 'SYSTEMD_EXEC_PID') !== String(pid)) return;
  const unit = controlGroupOf(pid) || 'lazypull.service';
  throw new LazypullError(
    'FailedPrecondition',
    `Cannot stop process ${pid}: systemd runs it, and would start it again`,
    { hint: `run "systemctl stop ${unit}"` },
  );
}

/** Ends the keeper of a killed daemon, and its mounts. No daemon can take the root meanwhile. */
async function endLeft(root: string): Promise<void> {
  using lock = await openRoot(root);
  await lock.alone;
  await endKeeper(root);
  await takeAway(root, join(root, 'fuse'), new Fronts().types, silentLog);
}

async function nothingToStop(root: string, address: string): Promise<LazypullError> {
  const pid = await listenerPid(address);
  if (pid === undefined) {
    return new LazypullError('NotFound', `No daemon serves "${address}" or has the root "${root}": nothing to stop`);
  }
  const who = pid === 0 ? 'a process in a container' : `process ${pid}, ${commandOf(pid)},`;
  const what = pid === 0 ? 'stop that container' : 'it is not a daemon of lazypull, or it has another root';
  return new LazypullError('FailedPrecondition', `Cannot stop what serves "${address}", ${who}: ${what}`);
}

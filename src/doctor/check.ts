/**
 * `lazypull check`: what is right on a machine, what is not, and what to do about it. It changes nothing permanently.
 *
 * Begin here: each `check-*.ts` is a topic and gives `CheckResult`s. A new check is a function in one of them.
 */

import { type DaemonFlags, daemonAddress, daemonRoot } from '../config/load.ts';
import { nearestDirectory } from '../daemon/root-disk.ts';
import { messageOf } from '../errors.ts';
import { lacksOf, probeMachine } from '../kernel/probe.ts';
import { checkClients, checkDaemon } from './check-clients.ts';
import { checkFiles } from './check-files.ts';
import { checkMachine } from './check-machine.ts';
import { checkMounts } from './check-mounts.ts';
import { checkRoot } from './check-root.ts';
import { type CheckResult, wrong } from './check-result.ts';

/** What to check. */
export interface CheckOptions {
  readonly flags: DaemonFlags & { readonly address?: string | undefined };
  readonly env: NodeJS.ProcessEnv;
  /** Directory of the programs that script/setup builds. */
  readonly tools: string;
}

/**
 * Checks everything that a daemon with these flags needs and works with. If the user is not root, that comes first, and
 * checks that only root can make are left out.
 */
export async function check({ flags, env, tools }: CheckOptions): Promise<CheckResult[]> {
  const root = daemonRoot(flags.root, env);
  const machine = await probeMachine();
  const mayMount = !lacksOf(machine).some(({ name }) => name === 'user');
  const results = checkMachine(machine);
  const ofRoot = await checkRoot(root, mayMount);
  if (mayMount) results.push(...(await mounts(nearestDirectory(root))));
  results.push(...ofRoot, ...(await checkFiles(flags, env)));
  results.push(
    ...(await checkDaemon({ address: daemonAddress(flags.address, env), root }, env, mayMount)),
    ...(await checkClients(env, tools)),
  );
  return results;
}

async function mounts(parent: string): Promise<CheckResult[]> {
  try {
    return await checkMounts(parent);
  } catch (error) {
    return [wrong('mounts', `Cannot be tried in "${parent}": ${messageOf(error)}`, 'choose another --root')];
  }
}

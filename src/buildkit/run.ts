/**
 * The work of `lazypull buildkitd`: starts a buildkitd, and the daemons that it needs, with the right flags.
 *
 * Begin here. `places.ts` says where everything is, `flags.ts` reads buildkitd's flags, `start.ts` starts a program and
 * waits until it serves.
 */

import { realpathSync, statSync } from 'node:fs';
import { delimiter, dirname } from 'node:path';
import { LazypullError } from '../errors.ts';
import { becomeProgram, findProgram } from '../kernel/programs.ts';
import { restarting } from '../kernel/restarter.ts';
import { listenerPid } from '../kernel/unix-socket.ts';
import { ensureContainerd } from './containerd.ts';
import { planBuildkit } from './flags.ts';
import { type OwnMirror, withMirrorConfig } from './mirror-config.ts';
import { makePassable } from './socket-directory.ts';
import { defaultAddress, type Instance, instanceAt, logsAt } from './places.ts';
import { type Starter, startService } from './start.ts';

/** The options of `buildkit run`. */
export interface RunOptions {
  /** Flags for buildkitd. */
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** The command line that runs lazypull; the command is appended. */
  lazypull: readonly string[];
  /** Directory of the programs that script/setup builds. */
  tools: string;
  say: (text: string) => void;
  /** What to say last. */
  usage?: readonly string[];
  /** The directory for the socket of buildkitd; undefined if it need not be made. */
  socketDirectory?: string | undefined;
  /** Undefined for a buildkitd without a mirror. */
  mirror?: OwnMirror | undefined;
}

/**
 * Starts lazypull, and containerd if its worker is asked for, unless they serve already. Both run on afterwards. Then
 * this process becomes buildkitd: it keeps the pid, so that signals and the exit code are buildkitd's.
 */
export async function runBuildkit(options: RunOptions): Promise<never> {
  const plan = planBuildkit(options.args, defaultAddress(options.env));
  const buildkitd = findBuildkitd(options.env, options.tools);
  const env = { ...options.env, PATH: searchPath(options.env, buildkitd, options.tools) };
  if (plan.onlyAsks) return becomeProgram(buildkitd, plan.args, environmentOf(env));
  if (findProgram('buildkit-runc', env.PATH) === undefined && findProgram('runc', env.PATH) === undefined) {
    throw new LazypullError(
      'NotFound',
      'Cannot run buildkitd: runc is not in PATH; install it with "apt-get install runc"',
    );
  }
  if (options.socketDirectory !== undefined) makePassable(options.socketDirectory);
  for (const note of plan.notes) options.say(note);
  const starter: Starter = { env, logs: logsAt(env), say: options.say };
  const { snapshotterAddress, containerdAddress } = plan;
  const { mirror } = options;
  const flags = mirror === undefined ? [] : ['--mirror-address', '127.0.0.1:0'];
  const instances: Instance[] = [];
  if (snapshotterAddress !== undefined) {
    const instance = instanceAt(snapshotterAddress, env);
    await ensureLazypull('lazypull', instance, options.lazypull, flags, starter);
    instances.push(instance);
  }
  if (containerdAddress !== undefined) {
    const instance = await ensureContainerd(containerdAddress, starter);
    if (instance !== undefined) {
      await ensureLazypull('lazypull-containerd', instance, options.lazypull, flags, starter);
      instances.push(instance);
    }
  }
  const [first] = instances;
  const args =
    mirror === undefined || first === undefined ? plan.args : await withMirrorConfig(plan.args, mirror, first);
  for (const line of options.usage ?? []) options.say(line);
  return becomeProgram(buildkitd, args, environmentOf(env));
}

/**
 * The buildkitd of `BUILDKIT_BIN_PATH` (its directory, or the program itself), else of PATH, else of the tools
 * directory.
 */
export function findBuildkitd(env: NodeJS.ProcessEnv, tools: string): string {
  const named = env.BUILDKIT_BIN_PATH;
  if (named !== undefined && named !== '') {
    const found = isFile(named) ? named : findProgram('buildkitd', named);
    if (found !== undefined) return found;
    throw new LazypullError(
      'NotFound',
      `Cannot find buildkitd in BUILDKIT_BIN_PATH="${named}": it must be the directory of buildkitd and buildctl`,
    );
  }
  const found = findProgram('buildkitd', env.PATH ?? '') ?? findProgram('buildkitd', tools);
  if (found !== undefined) return found;
  throw new LazypullError(
    'NotFound',
    'Cannot find buildkitd in PATH: install BuildKit (https://github.com/moby/buildkit), or set BUILDKIT_BIN_PATH to the directory of buildkitd and buildctl',
  );
}

async function ensureLazypull(
  name: string,
  instance: Instance,
  command: readonly string[],
  flags: readonly string[],
  starter: Starter,
): Promise<void> {
  const pid = await listenerPid(instance.address);
  if (pid !== undefined) {
    starter.say(`Uses the snapshotter at ${instance.address}, process ${pid}`);
    return;
  }
  const { address, root } = instance;
  const daemon = [...command, 'daemon', '--address', address, '--root', root, ...flags];
  await startService(
    name,
    restarting(root, daemon),
    address,
    starter,
    `${callOf(command, starter.env)} stop --address ${address}`,
  );
}

/** How a user calls lazypull: by its name, if PATH finds the same program by it. */
function callOf(command: readonly string[], env: NodeJS.ProcessEnv): string {
  const found = findProgram('lazypull', env.PATH ?? '');
  const isSame = command.length === 1 && found !== undefined && realpathSync(found) === realpathSync(command[0] ?? '');
  return isSame ? 'lazypull' : command.join(' ');
}

/** Programs beside buildkitd come first, those that script/setup built come last. */
function searchPath(env: NodeJS.ProcessEnv, buildkitd: string, tools: string): string {
  return [dirname(buildkitd), env.PATH ?? '', tools].filter((part) => part !== '').join(delimiter);
}

/** The environment for buildkitd, without what our launcher set for Node. */
function environmentOf(env: NodeJS.ProcessEnv): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [key, value] of Object.entries(env)) {
    if (value !== undefined && !/^(MALLOC_.*_|MALLOC_ARENA_MAX|UV_THREADPOOL_SIZE)$/.test(key)) result[key] = value;
  }
  return result;
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

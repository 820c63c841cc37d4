import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { containerdAt, type Instance, instanceAt, ownPlaces, rootsAt } from '../buildkit/places.ts';
import { socketPath } from '../config/client-list.ts';
import { daemonRoot, defaults } from '../config/load.ts';
import { LazypullError } from '../errors.ts';
import { printable } from '../util/printable.ts';
import type { Environment } from './environment.ts';
import { say } from './output.ts';
import type { CliCommand } from './command.ts';

/** The rule, for people. */
export const whichDaemonRule = `A command uses the daemon that --address or --root names, else LAZYPULL_ADDRESS or LAZYPULL_ROOT. Otherwise it is the one that serves below LAZYPULL_HOME if that is set, else the one that runs on this machine. If several run, a command that changes something names them and does nothing. A command that only looks names them and takes the first: the one at the place of containerd-stargz-grpc, then those that "lazypull buildkitd" and "lazypull buildkit run" have started, then others.`;

/** The flags by which a user names a daemon. */
export interface DaemonChoice {
  readonly address?: string | undefined;
  readonly root?: string | undefined;
}

/**
 * What a command does: it asks a daemon, reads the files in its root, or changes something, which must not be another
 * daemon's.
 */
export type DaemonUse = 'asks' | 'reads' | 'changes' | 'stops';

/** Adds the flags that name a daemon. */
export function chooseDaemon(command: CliCommand): CliCommand {
  return command
    .option('--address <path>', 'socket of the daemon (default: of the one that runs)')
    .option('--root <dir>', 'root of the daemon (default: of the one that runs)');
}

/**
 * The daemon that a command is about, by `whichDaemonRule`. If none runs, it is one that has left files, or else the
 * default place.
 *
 * @throws FailedPrecondition if the command changes something and several daemons could be meant, or if the flags are
 * of two daemons
 */
export async function whichDaemon(
  flags: DaemonChoice,
  { env, name }: Pick<Environment, 'env' | 'name'>,
  use: DaemonUse,
): Promise<Instance> {
  const places = knownPlaces(env);
  const named = await namedDaemon(flags, env, places, use);
  if (named !== undefined) return named;
  const living = await livingAt(places, env.LAZYPULL_HOME === undefined || env.LAZYPULL_HOME === '');
  const candidates = living.length > 0 ? living : await leftAt(places, use);
  const [first = places[0]!, ...others] = candidates;
  if (others.length === 0) return first;
  const what = living.length > 0 ? 'Several daemons run' : 'No daemon runs, and several roots have something';
  const isServed = living.length > 0 || use === 'stops'; // a root that is not served has no socket
  const list = candidates
    .map(({ address, root }) => `  ${isServed ? `"${printable(address)}", ` : ''}root "${printable(root)}"`)
    .join('\n');
  if (use === 'changes' || use === 'stops') {
    const ask = 'choose one with --address or --root';
    throw new LazypullError('FailedPrecondition', `${what}: ${ask}\n${list}`);
  }
  say(name, `${what}; this is about the first; --address or --root chooses another\n${list}`);
  return first;
}

/**
 * The daemon that the flags name, else the variables; undefined if neither does. If only one of socket and root is
 * named, the other is found by it.
 */
async function namedDaemon(
  flags: DaemonChoice,
  env: NodeJS.ProcessEnv,
  places: readonly Instance[],
  use: DaemonUse,
): Promise<Instance | undefined> {
  const isFlag = flags.address !== undefined || flags.root !== undefined;
  const choice = isFlag ? flags : { address: env.LAZYPULL_ADDRESS || undefined, root: env.LAZYPULL_ROOT || undefined };
  if (choice.address === undefined && choice.root === undefined) return undefined;
  const { daemonAt, daemonOfRoot } = await import('../daemon/living.ts');
  const { isSamePath } = await import('../kernel/real-path.ts');
  const address = choice.address && socketPath(choice.address);
  const root = choice.root && daemonRoot(choice.root, {});
  const serving = address ? await daemonAt(address).catch(() => undefined) : undefined;
  if (root === undefined) {
    const known = serving ?? places.find((place) => place.address === address);
    const instance = { address: address!, root: known?.root ?? daemonRoot(undefined, env) };
    if (serving === undefined && use !== 'asks') checkFree(instance, daemonOfRoot(instance.root)?.addresses);
    return instance;
  }
  if (address === undefined) {
    const known = places.find((place) => isSamePath(place.root, root))?.address;
    const standard = socketPath(env.LAZYPULL_ADDRESS || defaults.address);
    const [found] = daemonOfRoot(root)?.addresses ?? [];
    return { address: found ?? (await keptAddress(root)) ?? (known || standard), root };
  }
  if (serving !== undefined && !isSamePath(serving.root, root) && use !== 'asks') {
    throw new LazypullError(
      'FailedPrecondition',
      `The daemon at "${address}" has the root "${serving.root}", and not "${root}": leave out --root, or --address`,
    );
  }
  return { address, root };
}

/** A guessed root must not be that of a daemon that serves elsewhere. */
function checkFree({ address, root }: Instance, served: readonly string[] | undefined): void {
  if (served === undefined || served.length === 0 || served.includes(address)) return;
  throw new LazypullError(
    'FailedPrecondition',
    `Cannot tell the root of the daemon at "${address}": none serves there, and the one at "${served[0]}" has the root "${root}"`,
    { hint: 'give its --root' },
  );
}

/** Where daemons may be. The first place is the default. */
function knownPlaces(env: NodeJS.ProcessEnv): Instance[] {
  const { snapshotter, containerd } = ownPlaces(env);
  const own = [instanceAt(snapshotter, env), containerdAt(containerd, env).lazypull];
  const more = namesIn(rootsAt(env)).map((name) => ({ address: '', root: join(rootsAt(env), name) }));
  const others = more.filter(({ root }) => own.every((place) => place.root !== root));
  return [...(env.LAZYPULL_HOME ? [] : [{ address: defaults.address, root: defaults.root }]), ...own, ...others];
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

/**
 * The daemons that run at some of the places, or anywhere, each once. If we may not look, it is the first that may run.
 */
async function livingAt(places: readonly Instance[], isAnywhere: boolean): Promise<Instance[]> {
  const { daemonAt, daemonOfRoot, isServed, livingDaemons } = await import('../daemon/living.ts');
  const living: Instance[] = [];
  const hidden: Instance[] = [];
  for (const { address, root } of places) {
    const served = address === '' ? false : await isServed(address);
    if (served === undefined) hidden.push({ address, root });
    const daemon = (served === true ? await daemonAt(address) : undefined) ?? daemonOfRoot(root);
    if (daemon === undefined && served !== true) continue;
    const { addresses = [], root: itsRoot = root } = daemon ?? {};
    const [first = address] = addresses;
    const found = { address: addresses.includes(address) ? address : first, root: itsRoot };
    if (living.every((other) => other.root !== found.root)) living.push(found);
  }
  for (const { root, addresses } of isAnywhere ? livingDaemons() : []) {
    const [address] = addresses;
    if (address !== undefined && living.every((other) => other.root !== root)) living.push({ address, root });
  }
  return living.length > 0 ? living : hidden.slice(0, 1);
}

/** The places where something is left if no daemon runs: files, or, if a daemon is to be stopped, a keeper. */
async function leftAt(places: readonly Instance[], use: DaemonUse): Promise<Instance[]> {
  if (use === 'asks') return [];
  const left: Instance[] = [];
  for (const { address, root } of places) {
    const kept = await keptAddress(root);
    const isLeft = use === 'stops' ? kept !== undefined : existsSync(join(root, 'lock'));
    if (isLeft) left.push({ address: kept ?? (address || defaults.address), root });
  }
  return left;
}

/** The socket that a keeper holds for a root; undefined if none does, or if we may not look. */
async function keptAddress(root: string): Promise<string | undefined> {
  const { keptAddresses } = await import('../daemon/keeper.ts');
  const [first] = await keptAddresses(root).catch(() => []);
  return first;
}

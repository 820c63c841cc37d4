import { containerdAt, instanceAt, type Instance, ownPlaces } from '../buildkit/places.ts';
import { daemonAddress, daemonRoot } from '../config/load.ts';
import { codeOf } from '../errors.ts';

/** What help says behind the default. */
export const orOwn = 'or where "lazypull buildkitd" has its daemon';

/** The flags by which a user says which daemon is meant. */
export interface DaemonChoice {
  readonly address?: string | undefined;
  readonly root?: string | undefined;
}

/**
 * The daemon that a command is about: that of the flags or the environment; else the one at the default socket; else, where none serves there, one that
 * `lazypull buildkitd` started.
 */
export async function whichDaemon(flags: DaemonChoice, env: NodeJS.ProcessEnv): Promise<Instance> {
  const named = { address: daemonAddress(flags.address, env), root: daemonRoot(flags.root, env) };
  const own = ownDaemons(env);
  if (flags.root !== undefined || env.LAZYPULL_ROOT) return named;
  const isOwn = own.find(({ address }) => address === named.address);
  if (flags.address !== undefined || env.LAZYPULL_ADDRESS) return isOwn ?? named;
  return firstServed([named, ...own]);
}

/** The first at whose socket somebody serves, or may do so behind a directory that is not ours to look into; the first of all where nobody does. */
export async function firstServed(instances: readonly [Instance, ...Instance[]]): Promise<Instance> {
  const { listenerPid } = await import('../kernel/unix-socket.ts');
  for (const instance of instances) {
    const isServed = await listenerPid(instance.address).then(
      (pid) => pid !== undefined,
      (error: unknown) => codeOf(error) === 'Unavailable',
    );
    if (isServed) return instance;
  }
  return instances[0];
}

/** What `lazypull buildkitd` starts, for buildkitd's own worker and for its containerd worker. */
function ownDaemons(env: NodeJS.ProcessEnv): Instance[] {
  const { snapshotter, containerd } = ownPlaces(env);
  return [instanceAt(snapshotter, env), containerdAt(containerd, env).lazypull];
}

import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { LazypullError } from '../errors.ts';
import { makeDirectory } from '../kernel/make-directory.ts';
import { findProgram, outputOf } from '../kernel/programs.ts';
import { listenerPid } from '../kernel/unix-socket.ts';
import { type ContainerdPlaces, containerdAt, type Instance, instanceAt } from './places.ts';
import { type Starter, startService } from './start.ts';

const ctrTimeoutMs = 10_000;

/**
 * Makes sure that a containerd with the snapshotter `stargz` answers at `address`. If one answers, it is asked for the
 * socket of its `stargz` plugin. Otherwise one is started with a config of our own.
 *
 * @returns the instance of lazypull that this containerd uses, to be started if it does not serve; undefined if that
 * cannot be found out
 * @throws FailedPrecondition if a containerd without that plugin answers, NotFound if there is none to start
 */
export async function ensureContainerd(address: string, starter: Starter): Promise<Instance | undefined> {
  const pid = await listenerPid(address);
  if (pid !== undefined) return pluginOf(address, pid, starter);
  const path = starter.env.PATH ?? '';
  const containerd = findProgram('containerd', path);
  if (containerd === undefined) {
    throw new LazypullError('NotFound', 'Cannot start containerd: it is not in PATH', {
      hint: 'run "script/setup containerd" or install it',
    });
  }
  const places = containerdAt(address, starter.env);
  makeDirectory(dirname(places.config), 0o700);
  makeDirectory(places.state, 0o700);
  writeFileSync(places.config, containerdConfig(places), { mode: 0o600 });
  await startService('containerd', [containerd, '--config', places.config], address, starter);
  return places.lazypull;
}

/** A config of version 2, which containerd reads since 1.6. Everything that BuildKit does not use is off. */
export function containerdConfig({ address, root, state, lazypull }: ContainerdPlaces): string {
  const quote = (text: string) => JSON.stringify(text);
  const disabled = [
    'io.containerd.grpc.v1.cri',
    'io.containerd.cri.v1.images',
    'io.containerd.cri.v1.runtime',
    'io.containerd.podsandbox.controller.v1.podsandbox',
    'io.containerd.nri.v1.nri',
  ];
  return `# Written by "lazypull buildkit run".
version = 2
root = ${quote(root)}
state = ${quote(state)}
disabled_plugins = [${disabled.map(quote).join(', ')}]

[grpc]
  address = ${quote(address)}

[proxy_plugins.stargz]
  type = "snapshot"
  address = ${quote(lazypull.address)}
  [proxy_plugins.stargz.exports]
    root = ${quote(lazypull.root)}
    enable_remote_snapshot_annotations = "true"
`;
}

async function pluginOf(address: string, pid: number, starter: Starter): Promise<Instance | undefined> {
  const ctr = findProgram('ctr', starter.env.PATH ?? '');
  if (ctr === undefined) {
    starter.say(
      `Uses the containerd of process ${pid}; without ctr in PATH it is not known whether it has the stargz plugin`,
    );
    return undefined;
  }
  const listing = await outputOf(
    [ctr, '--address', address, 'plugins', 'ls', '--detailed', 'id==stargz'],
    starter.env,
    ctrTimeoutMs,
  ).catch((error: unknown) => {
    throw new LazypullError('Unavailable', `Cannot ask the containerd at "${address}" for its plugins`, {
      cause: error,
    });
  });
  const plugin = pluginAddress(listing);
  if (plugin === undefined) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot use the containerd at "${address}" (process ${pid}): it has no proxy plugin called stargz; ` +
        'add what "lazypull setup containerd" prints to its config, or choose another --containerd-worker-addr',
    );
  }
  return instanceAt(plugin, starter.env);
}

/** The socket in the output of `ctr plugins ls --detailed id==stargz`, or undefined. */
export function pluginAddress(listing: string): string | undefined {
  const plugin = listing
    .split(/^Type:/m)
    .find((part) => /io\.containerd\.snapshotter\.v1[^]*^ID:\s+stargz$/m.test(part));
  return plugin === undefined ? undefined : /^\s+address\s+(\S.*?)\s*$/m.exec(plugin)?.[1];
}

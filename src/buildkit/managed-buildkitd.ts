import { LazypullError } from '../errors.ts';
import { flagValue } from './flags.ts';
import type { OwnPlaces } from './places.ts';

/** A buildkitd that is wired to lazypull: its flags, and the address that clients use. */
export interface OwnBuildkitd {
  readonly args: string[];
  readonly address: string;
}

/**
 * Adds the flags that wire buildkitd to lazypull and keep it apart from others on the machine. The user's own flags
 * stay, except for the names of the snapshotters, which are fixed.
 *
 * @throws InvalidArgument for another snapshotter, and if a flag has no value
 */
export function ownBuildkitd(args: readonly string[], places: OwnPlaces): OwnBuildkitd {
  const added: string[] = [];
  const valueOf = (name: string, standard: string): string => {
    const given = flagValue(args, name);
    if (given === 'true' && paths.has(name)) {
      throw new LazypullError(
        'InvalidArgument',
        `Cannot run buildkitd with --${name} and no value: write --${name}=VALUE, or leave it out`,
      );
    }
    if (given === undefined) added.push(`--${name}=${standard}`);
    return given ?? standard;
  };
  const snapshotter = (name: string): void => {
    if (valueOf(name, 'stargz') === 'stargz') return;
    throw new LazypullError(
      'InvalidArgument',
      `Cannot run with --${name}=${flagValue(args, name)}: BuildKit is lazy under the name stargz only; leave the flag out`,
    );
  };
  const address = valueOf('addr', `unix://${places.buildkitd}`);
  valueOf('root', places.root);
  const containerd = valueOf('containerd-worker', 'false') === 'true';
  if (containerd) {
    valueOf('containerd-worker-addr', places.containerd);
    snapshotter('containerd-worker-snapshotter');
  }
  if (valueOf('oci-worker', String(!containerd)) !== 'false') {
    snapshotter('oci-worker-snapshotter');
    if (flagValue(args, 'oci-worker-proxy-snapshotter-address') === undefined) {
      valueOf('oci-worker-proxy-snapshotter-path', places.snapshotter);
    }
  }
  return { args: [...args, ...added], address };
}

/** Flags whose value is an address or a path. */
const paths = new Set(['addr', 'root', 'containerd-worker-addr', 'oci-worker-proxy-snapshotter-path']);

/** How to use a buildkitd, a line each. */
export function usageOf(address: string): string[] {
  return [
    `Build with it: buildctl --addr ${address} build --frontend dockerfile.v0 --local context=. --local dockerfile=.`,
    `or with docker: docker buildx create --name lazypull --driver remote --use ${address}`,
  ];
}

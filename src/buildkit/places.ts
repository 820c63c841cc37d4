import { dirname, join } from 'node:path';
import { defaults } from '../config/load.ts';

/**
 * One daemon. It serves the metadata of one client only, because every client removes the snapshots that it does not
 * know.
 */
export interface Instance {
  address: string;
  root: string;
}

/** Where a containerd that we start keeps its files, and the daemon that serves it. */
export interface ContainerdPlaces {
  address: string;
  root: string;
  state: string;
  config: string;
  lazypull: Instance;
}

/**
 * Directory of everything that is not at a place where a user of containerd-stargz-grpc expects it; `LAZYPULL_HOME`
 * moves it.
 */
const defaultHome = '/var/lib/lazypull';

/** The socket of lazypull if no flag names one. */
export function defaultAddress(env: NodeJS.ProcessEnv): string {
  return env.LAZYPULL_ADDRESS || defaults.address;
}

/** The daemon with the socket `address`. Another socket is for another client, so it has another root. */
export function instanceAt(address: string, env: NodeJS.ProcessEnv): Instance {
  if (address === defaultAddress(env) && env.LAZYPULL_ROOT) return { address, root: env.LAZYPULL_ROOT };
  if (address === defaults.address) return { address, root: defaults.root };
  return { address, root: join(rootsAt(env), address.replace(/^\/+/, '').replaceAll('/', '-')) };
}

/** Directory of the roots of daemons that we start at sockets other than the default one. */
export function rootsAt(env: NodeJS.ProcessEnv): string {
  return join(home(env), 'roots');
}

/** The places of a containerd of our own with the socket `address`. */
export function containerdAt(address: string, env: NodeJS.ProcessEnv): ContainerdPlaces {
  const kept = join(home(env), 'containerd-worker');
  const state = join(dirname(address), 'lazypull');
  return {
    address,
    root: join(kept, 'containerd'),
    state,
    config: join(kept, 'config.toml'),
    lazypull: { address: join(state, 'lazypull.sock'), root: join(kept, 'lazypull') },
  };
}

/**
 * Where a buildkitd of our own keeps its files, and the sockets: its own, that of its snapshotter, and that of a
 * containerd for its worker.
 */
export interface OwnPlaces {
  buildkitd: string;
  root: string;
  snapshotter: string;
  containerd: string;
  /** The configuration of a buildkitd that uses the mirror. */
  config: string;
}

/**
 * The sockets that only root may use are in a directory of their own: the flag --group says which users may use
 * buildkitd.
 */
export function ownPlaces(env: NodeJS.ProcessEnv): OwnPlaces {
  const run = env.LAZYPULL_HOME ? join(env.LAZYPULL_HOME, 'run') : '/run';
  return {
    buildkitd: join(run, 'lazypull', 'buildkitd.sock'),
    root: join(home(env), 'buildkitd'),
    snapshotter: join(run, 'lazypull-buildkitd', 'snapshotter.sock'),
    containerd: join(run, 'lazypull-buildkitd', 'containerd.sock'),
    config: join(home(env), 'buildkitd.toml'),
  };
}

/** Directory of the log files of background programs. */
export function logsAt(env: NodeJS.ProcessEnv): string {
  return env.LAZYPULL_HOME ? join(env.LAZYPULL_HOME, 'log') : '/var/log/lazypull';
}

function home(env: NodeJS.ProcessEnv): string {
  return env.LAZYPULL_HOME || defaultHome;
}

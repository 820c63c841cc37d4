/**
 * What lazypull needs in the configuration files of its clients, and how it gets there, for `lazypull setup`. It edits
 * files and starts nothing.
 *
 * Begin with the table of clients. `toml-text.ts` adds a key without touching the rest, `change-file.ts` replaces a
 * file.
 */

import { LazypullError } from '../errors.ts';
import { jsonProblem } from '../util/json.ts';
import {
  buildkitMirrorTables,
  type HostsFile,
  hostsFiles,
  type MirrorSetup,
  withBuildkitMirror,
} from './mirror-files.ts';
import { parseToml, type TomlTable, tomlOf, withElements, withTables } from './toml-text.ts';

/** Where a client finds its daemon. */
export interface DaemonPlaces {
  readonly address: string;
  readonly root: string;
  /** Undefined if its mirror is not used. */
  readonly mirror?: MirrorSetup | undefined;
}

/** The configuration file of a client. */
export interface ClientSetup {
  /** Its default path. */
  readonly file: string;
  /** What has to be in it, for people to read and copy. */
  snippet(places: DaemonPlaces): string;
  /**
   * The text of the file with that in it, and everything else unchanged. '' stands for a file that is not there. Throws
   * if that cannot be done.
   */
  apply(text: string, places: DaemonPlaces): string;
  /** Other files that the client needs. */
  readonly hosts?: (places: DaemonPlaces) => HostsFile[];
  /** What to do next, a line each. */
  next(places: DaemonPlaces): string[];
}

const clientNames = ['buildkit', 'containerd', 'docker'] as const;
export type ClientName = (typeof clientNames)[number];

const startDaemon = ({ address, root, mirror }: DaemonPlaces) =>
  `start the daemon before: lazypull daemon --address ${address} --root ${root}${
    mirror === undefined ? '' : ` --mirror-address ${mirror.address}`
  }`;

const buildkit: ClientSetup = {
  file: '/etc/buildkit/buildkitd.toml',
  snippet: (places) =>
    `${tomlOf([...buildkitTables(places), ...(places.mirror ? buildkitMirrorTables(places.mirror) : [])])}\n`,
  apply(text, places) {
    const lazy = withTables(text, buildkitTables(places));
    return places.mirror === undefined ? lazy : withBuildkitMirror(lazy, places.mirror);
  },
  next: (places) => [
    startDaemon(places),
    'restart buildkitd: systemctl restart buildkit; its cache is a new one, as that belongs to the snapshotter',
  ],
};

function buildkitTables({ address }: DaemonPlaces): TomlTable[] {
  const values = { enabled: true, snapshotter: 'stargz', proxySnapshotterPath: address };
  return [{ path: ['worker', 'oci'], values }];
}

const unpackPath = ['plugins', 'io.containerd.transfer.v1.local', 'unpack_config'];
const unpackFor = (snapshotter: string) => ({ platform: 'linux', snapshotter, differ: 'walking' });

const containerd: ClientSetup = {
  file: '/etc/containerd/config.toml',
  snippet: (places) => containerd.apply('', places),
  apply(text, places) {
    const withPlugin = withTables(text.trim() === '' ? 'version = 2\n' : text, containerdTables(places));
    return withElements(withPlugin, unpackPath, missingUnpackers(withPlugin));
  },
  hosts: ({ mirror }) => (mirror === undefined ? [] : hostsFiles('/etc/containerd/certs.d', mirror)),
  next: (places) => [
    startDaemon(places),
    'restart containerd: systemctl restart containerd',
    'try it: ctr images pull --snapshotter stargz IMAGE (containerd 2.1 and later; nerdctl --snapshotter stargz for others)',
  ],
};

function containerdTables({ address, root }: DaemonPlaces): TomlTable[] {
  const path = ['proxy_plugins', 'stargz'];
  return [
    { path, values: { type: 'snapshot', address } },
    { path: [...path, 'exports'], values: { root, enable_remote_snapshot_annotations: 'true' } },
  ];
}

/**
 * The transfer service, with which ctr pulls, unpacks only for the snapshotters in its list, and if the list is empty,
 * only for the default one.
 */
function missingUnpackers(text: string): TomlTable['values'][] {
  let there: unknown = parseToml(text);
  for (const key of unpackPath) there = (there as Record<string, unknown> | undefined)?.[key];
  const listed = Array.isArray(there) ? (there as Record<string, unknown>[]) : [];
  if (listed.some(({ snapshotter }) => snapshotter === 'stargz')) return [];
  return (listed.length === 0 ? ['overlayfs', 'stargz'] : ['stargz']).map(unpackFor);
}

const docker: ClientSetup = {
  file: '/etc/docker/daemon.json',
  snippet: () => `${JSON.stringify(withDocker({}), undefined, 2)}\n`,
  apply(text) {
    const config = text.trim() === '' ? {} : parseJson(text);
    const wanted = withDocker(config);
    if (JSON.stringify(config) === JSON.stringify(wanted)) return text;
    const indent = /^\{\s*?\n([ \t]+)/.exec(text)?.[1] ?? '  ';
    return `${JSON.stringify(wanted, undefined, indent)}\n`;
  },
  hosts: ({ mirror }) => (mirror === undefined ? [] : hostsFiles('/etc/docker/certs.d', mirror)),
  next: (places) => [
    startDaemon(places),
    'add the snapshotter to the containerd that dockerd uses: lazypull setup containerd',
    'make dockerd use that one and not its own: dockerd --containerd=/run/containerd/containerd.sock, as its packages do',
    'restart dockerd: systemctl restart docker; images of the old storage driver are not shown then, and are not lost',
    'Docker from 29.9 on fetches all layers at each pull; this does not: lazypull pull --namespace moby IMAGE',
  ],
};

function withDocker(config: Record<string, unknown>): Record<string, unknown> {
  const { features = {} } = config;
  if (typeof features !== 'object' || features === null || Array.isArray(features)) {
    throw new LazypullError('InvalidArgument', 'Its key "features" is not an object');
  }
  return { ...config, features: { ...features, 'containerd-snapshotter': true }, 'storage-driver': 'stargz' };
}

function parseJson(text: string): Record<string, unknown> {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    throw new LazypullError('InvalidArgument', 'It is not JSON', { cause: new Error(jsonProblem(text)) });
  }
  if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config as Record<string, unknown>;
  throw new LazypullError('InvalidArgument', 'It is not a JSON object');
}

export const clientSetups: Readonly<Record<ClientName, ClientSetup>> = { buildkit, containerd, docker };

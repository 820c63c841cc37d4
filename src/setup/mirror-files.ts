import { LazypullError } from '../errors.ts';
import { parseToml, type TomlTable, withFirstTable, withTables } from './toml-text.ts';

/** The daemon's mirror, as `HOST:PORT`, and the registries that are asked through it. */
export interface MirrorSetup {
  readonly address: string;
  readonly registries: readonly string[];
}

/** A hosts.toml, as containerd reads one for each registry. */
export interface HostsFile {
  readonly file: string;
  readonly snippet: string;
  /** As `ClientSetup.apply`. */
  readonly apply: (text: string) => string;
}

const registryPattern = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::\d{1,5})?$/;

/** Throws InvalidArgument if image references cannot name a registry so. */
export function checkRegistry(name: string): void {
  if (name.length <= 255 && registryPattern.test(name)) return;
  throw new LazypullError(
    'InvalidArgument',
    `Cannot use the registry "${name.slice(0, 300)}": it must be like docker.io or localhost:5000`,
  );
}

/**
 * A buildkitd.toml in which the mirror comes first for its registries; mirrors that are already there come after it.
 * Throws as `withTables`.
 */
export function withBuildkitMirror(text: string, mirror: MirrorSetup): string {
  return withTables(text, buildkitMirrorTables(mirror, parseToml(text)));
}

/** The tables to add to a buildkitd.toml that has `config` now. */
export function buildkitMirrorTables({ address, registries }: MirrorSetup, config: object = {}): TomlTable[] {
  const tables: TomlTable[] = registries.map((registry) => {
    const there = at(config, ['registry', registry, 'mirrors']);
    const others = Array.isArray(there) ? there.map(String).filter((each) => each !== address) : [];
    return { path: ['registry', registry], values: { mirrors: [address, ...others] } };
  });
  // BuildKit uses http for loopback by itself.
  const isLoopback = /^(?:127\.|localhost:|\[::1\]:)/.test(address);
  return isLoopback ? tables : [...tables, { path: ['registry', address], values: { http: true } }];
}

/**
 * The hosts.toml of each registry below a directory such as `/etc/containerd/certs.d`; if no registry is named, the one
 * for all.
 */
export function hostsFiles(directory: string, { address, registries }: MirrorSetup): HostsFile[] {
  const table = {
    path: ['host', `http://${address}`],
    values: { capabilities: ['pull', 'resolve'] },
  };
  return (registries.length === 0 ? ['_default'] : registries).map((name) => ({
    file: `${directory}/${name}/hosts.toml`,
    snippet: withFirstTable('', table),
    apply: (text) => withFirstTable(text, table),
  }));
}

function at(root: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined),
    root,
  );
}

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse } from 'smol-toml';
import { LazypullError, errnoOf } from '../errors.ts';
import { type LogLevel, logLevels } from '../log.ts';
import { type FileConfig, fileSchema, problemsIn, unknownKeysIn } from './schema.ts';

/** Where everything is when nobody says otherwise: the places of containerd-stargz-grpc. */
export const defaults = {
  address: '/run/containerd-stargz-grpc/containerd-stargz-grpc.sock',
  root: '/var/lib/containerd-stargz-grpc',
  config: '/etc/containerd-stargz-grpc/config.toml',
  logLevel: 'info',
} as const;

/** A config file far larger than any real one; a wrong path such as a disk image is refused before it is read. */
const maxFileBytes = 1024 * 1024;

/** Flags of the daemon as the user wrote them; undefined where absent. */
export interface DaemonFlags {
  address?: string | undefined;
  root?: string | undefined;
  config?: string | undefined;
  logLevel?: string | undefined;
}

/** What the daemon runs with. */
export interface DaemonConfig {
  /** Path of the unix socket to serve, without a scheme. */
  address: string;
  /** Directory of everything that is kept. */
  root: string;
  logLevel: LogLevel;
  file: FileConfig;
  /** What the log should say once it exists: unknown keys, keys without an effect yet. */
  warnings: string[];
}

/**
 * The configuration of the daemon: a flag wins over the environment (`LAZYPULL_ADDRESS`, `LAZYPULL_ROOT`,
 * `LAZYPULL_CONFIG`, `LAZYPULL_LOG_LEVEL`), that over the file, that over the default. A missing file is an error only
 * when it was named.
 *
 * @throws InvalidArgument that names the flag, variable or key
 */
export function loadConfig(flags: DaemonFlags, env: NodeJS.ProcessEnv): DaemonConfig {
  const named = flags.config ?? nonEmpty(env.LAZYPULL_CONFIG);
  const { file, warnings } = readConfigFile(named ?? defaults.config, named !== undefined);
  return {
    address: socketPath(flags.address ?? nonEmpty(env.LAZYPULL_ADDRESS) ?? defaults.address),
    root: resolve(flags.root ?? nonEmpty(env.LAZYPULL_ROOT) ?? defaults.root),
    logLevel: logLevel(flags.logLevel ?? nonEmpty(env.LAZYPULL_LOG_LEVEL) ?? defaults.logLevel),
    file,
    warnings,
  };
}

/** The parsed file at `path` with what to warn about; defaults where it is missing and not `required`. */
export function readConfigFile(path: string, required: boolean): { file: FileConfig; warnings: string[] } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && !required) return { file: fileSchema.parse({}), warnings: [] };
    throw new LazypullError('InvalidArgument', `Cannot read the config file "${path}"`, { cause: error });
  }
  return parseConfig(text, path);
}

/** Parses the text of a config file. @param path for messages only */
export function parseConfig(text: string, path: string): { file: FileConfig; warnings: string[] } {
  if (text.length > maxFileBytes) {
    throw new LazypullError(
      'InvalidArgument',
      `Cannot read the config file "${path}": it is larger than ${maxFileBytes} bytes`,
    );
  }
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new LazypullError('InvalidArgument', `Cannot parse the config file "${path}"`, { cause: error });
  }
  const problems = problemsIn(value);
  if (problems.length > 0) {
    throw new LazypullError('InvalidArgument', `Cannot use the config file "${path}": ${problems.join('; ')}`);
  }
  const file = fileSchema.parse(value);
  const unknown = unknownKeysIn(value);
  const idle = keysWithoutEffect(file);
  const warnings = [
    ...(unknown.length > 0 ? [`Unknown keys in the config file "${path}" are ignored: ${unknown.join(', ')}`] : []),
    ...(idle.length > 0 ? [`Keys in the config file "${path}" that have no effect yet: ${idle.join(', ')}`] : []),
  ];
  return { file, warnings };
}

/** Keys that this program acts on, or whose default is what it does anyway. All others are told to the user when set. */
const implemented: ReadonlySet<string> = new Set([
  'resolver.request_timeout_sec',
  'resolver.host',
  'snapshotter.allow_invalid_mounts_on_restart',
]);

function keysWithoutEffect(file: FileConfig): string[] {
  const standard = flatten(fileSchema.parse({}));
  return [...flatten(file)]
    .filter(([key, value]) => !implemented.has(key) && standard.get(key) !== value)
    .map(([key]) => key);
}

/** Leaf keys by dotted name; a leaf is anything but a table. */
function flatten(table: object, prefix = ''): Map<string, string> {
  const leaves = new Map<string, string>();
  for (const [key, value] of Object.entries(table)) {
    const name = prefix + key;
    if (name !== 'resolver.host' && typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [inner, leaf] of flatten(value, `${name}.`)) leaves.set(inner, leaf);
    } else {
      leaves.set(name, JSON.stringify(value));
    }
  }
  return leaves;
}

function socketPath(address: string): string {
  return resolve(address.startsWith('unix://') ? address.slice('unix://'.length) : address);
}

/** `warning` is taken for `warn`, as containerd's programs do. */
function logLevel(text: string): LogLevel {
  const name = text.toLowerCase() === 'warning' ? 'warn' : text.toLowerCase();
  const level = logLevels.find((known) => known === name);
  if (level !== undefined) return level;
  throw new LazypullError(
    'InvalidArgument',
    `Cannot use the log level "${text}": it must be one of ${logLevels.join(', ')}`,
  );
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

/**
 * The configuration: flags before the environment before config.toml before defaults. It reads one file and nothing
 * else.
 *
 * Begin with `loadConfig`. A new key goes into `schema.ts`, with its default and its description, and its dotted name
 * into `implemented` of `file.ts`. The page of the documentation comes from there.
 */

import { LazypullError, errnoOf } from '../errors.ts';
import { readGivenFile } from '../kernel/given-file.ts';
import { realPath } from '../kernel/real-path.ts';
import { type LogFormat, logFormats, type LogLevel, logLevels } from '../log.ts';
import { type ClientConfig, clientsOf, socketPath } from './client-list.ts';
import { type ListenAddress, parseListenAddress } from './listen-address.ts';
import { isLoopback } from '../registry/hosts/addresses.ts';
import type { FileConfig } from './schema.ts';

/** Where everything is by default: the places of containerd-stargz-grpc. */
export const defaults = {
  address: '/run/containerd-stargz-grpc/containerd-stargz-grpc.sock',
  root: '/var/lib/containerd-stargz-grpc',
  config: '/etc/containerd-stargz-grpc/config.toml',
  logLevel: 'info',
  logFormat: 'auto',
  /** Where containerd and Docker keep the settings of each registry. */
  registryHosts: '/etc/containerd/certs.d:/etc/docker/certs.d',
} as const;

/** Far larger than any real config file. A wrong path, such as that of a disk image, is refused before it is read. */
const maxFileBytes = 1024 * 1024;

/** What to do about a config file that cannot be used. */
export const configHint = 'correct the file, or give another one with --config; "lazypull check" reads it too';

/** Flags of the daemon as the user wrote them; undefined if absent. */
export interface DaemonFlags {
  /** One for each client; `lazypull check` takes one at most. */
  address?: string | readonly string[] | undefined;
  root?: string | undefined;
  config?: string | undefined;
  logLevel?: string | undefined;
  logFormat?: string | undefined;
  metricsAddress?: string | undefined;
  mirrorAddress?: string | undefined;
  takeover?: boolean | undefined;
}

/** What the daemon runs with. */
export interface DaemonConfig {
  /** The clients to serve, at least one. Each has a socket of its own. */
  clients: readonly ClientConfig[];
  /** Directory of everything that is kept. */
  root: string;
  logLevel: LogLevel;
  logFormat: LogFormat;
  /** Where to serve metrics; undefined if they are not served. */
  metricsAddress: ListenAddress | undefined;
  /** Where to serve the mirror; undefined if there is none: nothing is kept for it then. */
  mirrorAddress: ListenAddress | undefined;
  /** Whether a daemon that has the root is asked to hand over. */
  takeover: boolean;
  /** The config file; undefined if there is none, or if it is empty: every key has its default then. */
  file: FileConfig | undefined;
  /** What the log should say once it exists: keys that are unknown, and keys that have no effect yet. */
  warnings: string[];
}

/**
 * The configuration of the daemon. A flag wins over the environment (`LAZYPULL_ADDRESS`, `LAZYPULL_ROOT`,
 * `LAZYPULL_CONFIG`, `LAZYPULL_LOG_LEVEL`, `LAZYPULL_LOG_FORMAT`, `LAZYPULL_METRICS_ADDRESS`,
 * `LAZYPULL_MIRROR_ADDRESS`, `LAZYPULL_INDEX_REPOSITORY`), the environment over the file, and the file over the
 * default. A missing file is an error only if it was named.
 *
 * @throws InvalidArgument that names the flag, variable or key
 */
export async function loadConfig(flags: DaemonFlags, env: NodeJS.ProcessEnv): Promise<DaemonConfig> {
  const named = flags.config ?? nonEmpty(env.LAZYPULL_CONFIG);
  const indexes = nonEmpty(env.LAZYPULL_INDEX_REPOSITORY);
  const { file, warnings } = await readConfigFile(named ?? defaults.config, named !== undefined, indexes);
  return {
    clients: clientsOf(addresses(flags.address, env), file?.client ?? []),
    root: daemonRoot(flags.root, env),
    logLevel: logLevel(flags.logLevel ?? nonEmpty(env.LAZYPULL_LOG_LEVEL) ?? defaults.logLevel),
    logFormat: logFormat(flags.logFormat ?? nonEmpty(env.LAZYPULL_LOG_FORMAT) ?? defaults.logFormat),
    metricsAddress: metricsAddress(flags.metricsAddress ?? nonEmpty(env.LAZYPULL_METRICS_ADDRESS), file),
    mirrorAddress: mirrorAddress(flags.mirrorAddress ?? nonEmpty(env.LAZYPULL_MIRROR_ADDRESS), file),
    takeover: flags.takeover ?? false,
    file,
    warnings,
  };
}

/** `no_prometheus` turns off the address of the file, not that of the command line or the environment. */
function metricsAddress(asked: string | undefined, file: FileConfig | undefined): ListenAddress | undefined {
  if (asked !== undefined) return parseListenAddress(asked, 'the metrics address');
  if (file === undefined || file.metrics_address === '' || file.no_prometheus) return undefined;
  return parseListenAddress(file.metrics_address, 'the key "metrics_address" with');
}

/** The mirror answers with the credentials of this machine. So other machines reach it only if the file says so. */
function mirrorAddress(asked: string | undefined, file: FileConfig | undefined): ListenAddress | undefined {
  const text = asked ?? nonEmpty(file?.mirror.address);
  if (text === undefined) return undefined;
  const address = parseListenAddress(
    text,
    asked === undefined ? 'the key "mirror.address" with' : 'the mirror address',
  );
  if (isLoopback(address.host) || file?.mirror.allow_remote) return address;
  throw new LazypullError(
    'InvalidArgument',
    `Cannot serve the mirror at "${text}": every program that reaches it could read what this machine may pull`,
    { hint: 'use 127.0.0.1, or set allow_remote in [mirror] of the config file' },
  );
}

/**
 * The file at `path`, and what to warn about.
 *
 * @param indexes the repository of indexes, if it is not that of the file
 */
async function readConfigFile(
  path: string,
  required: boolean,
  indexes: string | undefined,
): Promise<Pick<DaemonConfig, 'file' | 'warnings'>> {
  let text: string;
  try {
    text = utf8Text(await readGivenFile(path, maxFileBytes));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && !required) text = '';
    else
      throw new LazypullError('InvalidArgument', `Cannot read the config file "${path}"`, {
        cause: error,
        ...(errnoOf(error) === undefined ? { hint: configHint } : {}),
      });
  }
  if (text.trim() === '' && indexes === undefined) return { file: undefined, warnings: [] };
  // The parser and the schema take more memory than anything else that the daemon loads. So only a daemon with a file
  // loads them.
  const { parseConfig } = await import('./file.ts');
  const { file, warnings } = parseConfig(text, path);
  if (indexes === undefined) return { file, warnings };
  return { file: { ...file, index: { ...file.index, repository: indexes } }, warnings };
}

/** TOML is UTF-8, and nothing else (TOML 1.0, "Spec"). */
function utf8Text(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Error('It is not UTF-8');
  }
}

function addresses(flag: DaemonFlags['address'], env: NodeJS.ProcessEnv): readonly string[] {
  return typeof flag === 'object' && flag.length > 0 ? flag : [daemonAddress(flag?.toString(), env)];
}

/** The path of the daemon's socket: the flag, else `LAZYPULL_ADDRESS`, else the default. */
export function daemonAddress(flag: string | undefined, env: NodeJS.ProcessEnv): string {
  return socketPath(flag ?? nonEmpty(env.LAZYPULL_ADDRESS) ?? defaults.address);
}

/**
 * The daemon's root directory, as `realPath` gives it: the flag, else `LAZYPULL_ROOT`, else the default.
 *
 * @throws InvalidArgument for an empty flag, which would mean the current directory
 */
export function daemonRoot(flag: string | undefined, env: NodeJS.ProcessEnv): string {
  if (flag === '')
    throw new LazypullError('InvalidArgument', 'Cannot use an empty --root', {
      hint: 'give a directory, or leave it out',
    });
  return realPath(flag ?? nonEmpty(env.LAZYPULL_ROOT) ?? defaults.root);
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

function logFormat(text: string): LogFormat {
  const format = logFormats.find((known) => known === text.toLowerCase());
  if (format !== undefined) return format;
  throw new LazypullError(
    'InvalidArgument',
    `Cannot use the log format "${text}": it must be one of ${logFormats.join(', ')}`,
  );
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

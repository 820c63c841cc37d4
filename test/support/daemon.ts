import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { listenerPid } from '../../src/kernel/unix-socket.ts';
import { Program } from './program.ts';
import { repository } from './tools.ts';
import { until } from './until.ts';

/** A running lazypull daemon. */
export interface Daemon extends AsyncDisposable {
  readonly socket: string;
  readonly root: string;
  readonly program: Program;
  /** The lines of its log so far, as objects. */
  log(): Record<string, unknown>[];
}

/**
 * Starts the daemon under its drop-in name with fresh or kept state in `directory`, and waits until it serves; `toml`
 * is its config file, `env` is added to the environment, `launcher` is what runs it, and `checkout` has the version.
 */
export async function startDaemon(
  directory: string,
  logLevel = 'debug',
  toml = '',
  env: Readonly<Record<string, string>> = {},
  launcher: readonly string[] = [],
  checkout = repository,
): Promise<Daemon> {
  const daemon = await launchDaemon(directory, logLevel, toml, [], env, launcher, checkout);
  await serving(daemon);
  return daemon;
}

/**
 * Waits until the daemon itself serves: a socket that an earlier one left in its keeper accepts connections all the
 * time.
 */
export async function serving({ program, socket }: Daemon): Promise<void> {
  await program.ready(async () => (await listenerPid(socket)) === program.pid);
}

/** As `startDaemon`, without the wait. */
export async function launchDaemon(
  directory: string,
  logLevel = 'debug',
  toml = '',
  flags: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
  launcher: readonly string[] = [],
  checkout = repository,
): Promise<Daemon> {
  await mkdir(directory, { recursive: true });
  const socket = join(directory, 'lp.sock');
  const root = join(directory, 'root');
  const config = join(directory, 'config.toml');
  await writeFile(config, toml);
  const main = join(checkout, 'bin', 'containerd-stargz-grpc');
  const [command, ...args] = launcher[0] === undefined ? ([main] as const) : [launcher[0], ...launcher.slice(1), main];
  const program = new Program({
    name: 'containerd-stargz-grpc',
    command,
    args: [...args, '--address', socket, '--root', root, '--config', config, '--log-level', logLevel, ...flags],
    log: join(directory, 'lazypull.log'),
    env,
  });
  return { socket, root, program, log: () => parse(program.output), [Symbol.asyncDispose]: () => program.stop() };
}

/**
 * Whether the daemon, which serves, has gone on with the FUSE connection of one before it. It says so a moment after it
 * has begun to serve, in a log that may be that of earlier ones too.
 */
export async function hasInherited(daemon: Daemon): Promise<unknown> {
  const isReady = ({ msg, pid }: Record<string, unknown>): boolean =>
    msg === 'lazypull is ready' && pid === daemon.program.pid;
  const ready = await until(() => daemon.log().find(isReady), 'the daemon says that it is ready');
  return ready['inherited'];
}

/** Waits until the daemon has logged a message. */
export async function logged(daemon: Daemon, message: string): Promise<void> {
  await until(() => daemon.log().some(({ msg }) => msg === message), `the daemon does not log "${message}"`);
}

function parse(output: string): Record<string, unknown>[] {
  return output.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as Record<string, unknown>];
    } catch {
      return [];
    }
  });
}

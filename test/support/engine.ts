import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { type Containerd, startContainerd } from './containerd.ts';
import { accepts } from './ports.ts';
import { Program, run, type RunResult, tryRun } from './program.ts';
import { builtTool, builtTools, pathWithTools } from './tools.ts';

export const engineVersions = ['28', '29'] as const;
/** The major version of an Engine that script/setup builds. */
export type EngineVersion = (typeof engineVersions)[number];

/** Where script/setup puts Docker's programs. */
const clients = join(builtTools, 'clients');
/** No command of these tests takes so long; the Engine that does not answer is seen in its log. */
const commandMs = 120_000;
const path = [clients, pathWithTools()].join(delimiter);

/** A Docker Engine with the images in containerd, and a CLI with buildx and compose for it. */
export interface Engine extends AsyncDisposable {
  /** Its socket, as DOCKER_HOST has it. */
  readonly host: string;
  readonly program: Program;
  /** Runs docker and gives its standard output. */
  docker(...args: readonly string[]): Promise<string>;
  /** Runs docker and gives what came of it. */
  tryDocker(...args: readonly string[]): Promise<RunResult>;
}

/**
 * Starts an Engine of that version on overlayfs, with its state and its own containerd in `directory`. Containers have
 * no network, or that of this machine.
 */
export async function startEngine(directory: string, version: EngineVersion): Promise<Engine> {
  await using stack = new AsyncDisposableStack();
  const containerd = stack.use(await startContainerd(join(directory, 'containerd')));
  const config = join(directory, 'daemon.json');
  await writeFile(config, JSON.stringify({ features: { 'containerd-snapshotter': true } }));
  const engine = stack.use(await startEngineOn(directory, version, containerd, config));
  const kept = stack.move();
  return { ...engine, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/**
 * Starts an Engine of that version on a containerd, with `config` as its daemon.json, and fresh or kept state in
 * `directory`.
 */
export async function startEngineOn(
  directory: string,
  version: EngineVersion,
  containerd: Containerd,
  config: string,
): Promise<Engine> {
  const plugins = join(directory, 'config', 'cli-plugins');
  await mkdir(plugins, { recursive: true });
  for (const plugin of ['docker-buildx', 'docker-compose']) {
    await symlink(builtTool(join('clients', plugin)), join(plugins, plugin)).catch(ignoreExisting);
  }
  const socket = join(directory, 'docker.sock');
  const program = new Program({
    name: 'dockerd',
    command: builtTool(join('clients', `dockerd-${version}`)),
    args: [
      `--config-file=${config}`,
      `--host=unix://${socket}`,
      `--containerd=${containerd.address}`,
      `--data-root=${join(directory, 'data')}`,
      `--exec-root=${join(directory, 'exec')}`,
      `--pidfile=${join(directory, 'docker.pid')}`,
      // Containers would be in a network of their own with rules in the firewall of this machine.
      '--bridge=none',
      '--iptables=false',
      '--ip6tables=false',
      '--ip-forward=false',
      '--userland-proxy=false',
      // The shim looks for "runc" in the PATH of containerd, which has that of the system.
      `--add-runtime=built=${builtTool(join('clients', 'runc'))}`,
      '--default-runtime=built',
      '--init-path=/usr/bin/tini-static',
    ],
    log: join(directory, 'dockerd.log'),
    env: { PATH: path },
  });
  await program.ready(() => accepts({ path: socket }));
  const host = `unix://${socket}`;
  const env = { PATH: path, DOCKER_HOST: host, DOCKER_CONFIG: join(directory, 'config') };
  const docker = builtTool(join('clients', 'docker'));
  return {
    host,
    program,
    docker: (...args) => run(docker, args, { env, signal: AbortSignal.timeout(commandMs) }),
    tryDocker: (...args) => tryRun(docker, args, { env, signal: AbortSignal.timeout(commandMs) }),
    [Symbol.asyncDispose]: () => program.stop(),
  };
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}

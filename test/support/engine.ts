import { mkdir, symlink } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { startContainerd } from './containerd.ts';
import { accepts } from './ports.ts';
import { Program, run, type RunResult, tryRun } from './program.ts';
import { builtTools, pathWithTools } from './tools.ts';

/** Where script/setup puts Docker's programs. */
const clients = join(builtTools, 'clients');

/** A Docker Engine with the images in a containerd of its own, and a CLI with buildx for it. */
export interface Engine extends AsyncDisposable {
  /** Its socket, as DOCKER_HOST has it. */
  readonly host: string;
  readonly program: Program;
  /** Runs docker and gives its standard output. */
  docker(...args: readonly string[]): Promise<string>;
  /** Runs docker and gives what came of it. */
  tryDocker(...args: readonly string[]): Promise<RunResult>;
}

/** Starts an Engine of that major version, which makes no networks, with its state in `directory`. */
export async function startEngine(directory: string, version: '28' | '29'): Promise<Engine> {
  await using stack = new AsyncDisposableStack();
  await mkdir(join(directory, 'config', 'cli-plugins'), { recursive: true });
  await symlink(join(clients, 'docker-buildx'), join(directory, 'config', 'cli-plugins', 'docker-buildx'));
  const containerd = stack.use(await startContainerd(join(directory, 'containerd')));
  const socket = join(directory, 'docker.sock');
  const host = `unix://${socket}`;
  const path = [clients, pathWithTools()].join(delimiter);
  const program = stack.use(
    new Program({
      name: 'dockerd',
      command: join(clients, `dockerd-${version}`),
      args: [
        '--config-file=/dev/null',
        `--host=${host}`,
        `--containerd=${containerd.address}`,
        `--data-root=${join(directory, 'data')}`,
        `--exec-root=${join(directory, 'exec')}`,
        `--pidfile=${join(directory, 'docker.pid')}`,
        '--bridge=none',
        '--iptables=false',
        '--ip6tables=false',
        '--userland-proxy=false',
        '--feature=containerd-snapshotter=true',
      ],
      log: join(directory, 'dockerd.log'),
      env: { PATH: path },
    }),
  );
  await program.ready(() => accepts({ path: socket }));
  const env = { PATH: path, DOCKER_HOST: host, DOCKER_CONFIG: join(directory, 'config') };
  const kept = stack.move();
  return {
    host,
    program,
    docker: (...args) => run(join(clients, 'docker'), args, { env }),
    tryDocker: (...args) => tryRun(join(clients, 'docker'), args, { env }),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { accepts } from './ports.ts';
import { Program, tryRun } from './program.ts';
import { builtTool, pathWithTools } from './tools.ts';

/** A running containerd. */
export interface Containerd extends AsyncDisposable {
  readonly address: string;
  readonly program: Program;
  /** Runs ctr against it and gives the standard output. */
  ctr(...args: string[]): Promise<string>;
}

/**
 * Starts containerd with its state in `directory` and, with `stargzSocket`, the proxy snapshotter `stargz` on that
 * socket.
 */
export async function startContainerd(directory: string, stargzSocket?: string): Promise<Containerd> {
  await mkdir(directory, { recursive: true });
  const config = join(directory, 'containerd.toml');
  await writeFile(config, configOf(stargzSocket));
  return startContainerdWith(directory, config);
}

/**
 * Starts containerd with a config file that says nothing of where its root, state and socket are: they are in
 * `directory`.
 */
export async function startContainerdWith(directory: string, config: string): Promise<Containerd> {
  const address = join(directory, 'containerd.sock');
  const places = ['--address', address, '--root', join(directory, 'root'), '--state', join(directory, 'state')];
  const program = new Program({
    name: 'containerd',
    command: builtTool('containerd'),
    args: ['--config', config, ...places],
    log: join(directory, 'containerd.log'),
    env: { PATH: pathWithTools() },
  });
  await program.ready(() => accepts({ path: address }));
  return {
    address,
    program,
    async ctr(...args) {
      const { status, stdout, stderr } = await tryRun(builtTool('ctr'), ['--address', address, ...args]);
      if (status !== 0) throw new Error(`ctr ${args.join(' ')} ended with status ${status}: ${stderr}`);
      return stdout;
    },
    [Symbol.asyncDispose]: () => program.stop(),
  };
}

function configOf(stargzSocket: string | undefined): string {
  const lines = [
    'version = 3',
    'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]',
  ];
  if (stargzSocket !== undefined) {
    lines.push('[proxy_plugins.stargz]', 'type = "snapshot"', `address = ${JSON.stringify(stargzSocket)}`);
  }
  return `${lines.join('\n')}\n`;
}

import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Program, run, tryRun } from './program.ts';
import { type RegistryProcess, startRegistry } from './registry-process.ts';
import { systemTool } from './tools.ts';
import { Workspace } from './workspace.ts';

const prefix = 'lp-farm-';
const network = '10.77.0';
const serverIp = `${network}.1`;
const firstNode = 11;

/** An address of the farm's network that no machine has. */
export const nobodysIp = `${network}.99`;

/** A machine of the farm: a network namespace with one link. */
export interface FarmNode {
  readonly name: string;
  /** What a program is started with to run on this machine. */
  readonly launcher: readonly [string, ...string[]];
  /** Bytes that its link has received. */
  received(): Promise<number>;
}

/**
 * A network of its own: a machine with registries in the middle, and others that reach only it. Each machine is a
 * network namespace, so the kernel counts what it fetches, and no link reaches the machine that runs the test.
 */
export class Farm implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly nodes: readonly FarmNode[];
  readonly #server: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(stack: AsyncDisposableStack, workspace: Workspace, server: string, nodes: readonly FarmNode[]) {
    this.#stack = stack;
    this.workspace = workspace;
    this.#server = server;
    this.nodes = nodes;
  }

  /** Throws if this machine makes no network namespaces. */
  static async open(machines: number): Promise<Farm> {
    await removeAbandoned();
    await using stack = new AsyncDisposableStack();
    const server = `${prefix}${process.pid}-server`;
    await addNamespace(server, stack);
    await ip('-n', server, 'link', 'add', 'lan', 'type', 'bridge');
    await ip('-n', server, 'address', 'add', `${serverIp}/24`, 'dev', 'lan');
    await ip('-n', server, 'link', 'set', 'lan', 'up');
    const nodes: FarmNode[] = [];
    for (let i = 0; i < machines; i++) {
      const name = `${prefix}${process.pid}-${i}`;
      await addNamespace(name, stack);
      await ip('link', 'add', 'eth0', 'netns', name, 'type', 'veth', 'peer', 'name', `port${i}`, 'netns', server);
      await ip('-n', server, 'link', 'set', `port${i}`, 'master', 'lan', 'up');
      await ip('-n', name, 'address', 'add', `${network}.${firstNode + i}/24`, 'dev', 'eth0');
      await ip('-n', name, 'link', 'set', 'eth0', 'up');
      nodes.push({ name, launcher: launcherOf(name), received: () => receivedBytes(name) });
    }
    // The daemons go before their network.
    const workspace = stack.use(await Workspace.open('lp-farm'));
    return new Farm(stack.move(), workspace, server, nodes);
  }

  /**
   * Starts a registry in the middle, on port `port`, with its blobs in `data`.
   *
   * @returns it; its host is as the machines of the farm name it
   */
  async registry(name: string, port: number, data: string, isReadOnly = false): Promise<RegistryProcess> {
    const directory = join(this.workspace.path, name);
    await mkdir(data, { recursive: true });
    await mkdir(directory, { recursive: true });
    const config = join(directory, 'registry.yml');
    const storage = {
      filesystem: { rootdirectory: data },
      maintenance: { readonly: { enabled: isReadOnly } },
    };
    const http = { addr: `${serverIp}:${port}` };
    // JSON is YAML, and quotes every path.
    await writeFile(config, JSON.stringify({ version: 0.1, log: { level: 'warn' }, storage, http }));
    const [command, ...args] = launcherOf(this.#server);
    const program = new Program({
      name: 'docker-registry',
      command,
      args: [...args, systemTool('docker-registry'), 'serve', config],
      log: join(directory, 'registry.log'),
    });
    const knock = ['bash', '-c', `exec 3<>/dev/tcp/${serverIp}/${port}`];
    await program.ready(async () => (await tryRun(command, [...args, ...knock])).status === 0);
    return { port, host: `${serverIp}:${port}`, program, [Symbol.asyncDispose]: () => program.stop() };
  }

  /** Fills the blobs of a registry that is started later: `fill` is given one that this machine reaches. */
  async fill(name: string, data: string, fill: (host: string) => Promise<void>): Promise<void> {
    await using registry = await startRegistry(join(this.workspace.path, name), data);
    await fill(registry.host);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Whether a registry with its blobs in `data` has a tag; it need not run. */
export function hasTag(data: string, repository: string, tag: string): boolean {
  const tags = join(data, 'docker', 'registry', 'v2', 'repositories', repository, '_manifests', 'tags');
  return existsSync(join(tags, tag, 'current', 'link'));
}

/** An `[[resolver.host]]` for config.toml of lazypull that makes plain HTTP of a registry of the farm. */
export function plainHttp(host: string): string {
  return `[[resolver.host."${host}".mirrors]]\nhost = "${host}"\ninsecure = true\n`;
}

/** Enters only the network of a namespace: mounts stay those of this machine. */
function launcherOf(namespace: string): readonly [string, ...string[]] {
  return [systemTool('nsenter'), `--net=/run/netns/${namespace}`, '--'];
}

async function addNamespace(name: string, stack: AsyncDisposableStack): Promise<void> {
  await ip('netns', 'add', name);
  stack.defer(() => ip('netns', 'delete', name));
  await ip('-n', name, 'link', 'set', 'lo', 'up');
}

async function receivedBytes(namespace: string): Promise<number> {
  const [command, ...args] = launcherOf(namespace);
  const table = await run(command, [...args, 'cat', '/proc/net/dev']);
  const bytes = /^\s*eth0:\s*(\d+)/m.exec(table)?.[1];
  if (bytes === undefined) throw new Error(`The machine ${namespace} has no link`);
  return Number(bytes);
}

async function ip(...args: string[]): Promise<void> {
  const { status, stderr } = await tryRun(systemTool('ip'), args);
  if (status === 0) return;
  const why = `"ip ${args.join(' ')}" ended with status ${status}: ${stderr.trim()}`;
  throw new Error(`The farm needs root and a kernel with network namespaces, veth and bridge: ${why}`);
}

/** Removes the namespaces of processes that were killed before they could. */
async function removeAbandoned(): Promise<void> {
  const names = await readdir('/run/netns').catch(() => []);
  for (const name of names.filter((each) => each.startsWith(prefix))) {
    const pid = name.slice(prefix.length).split('-')[0];
    if (!existsSync(`/proc/${pid}`)) await ip('netns', 'delete', name);
  }
}

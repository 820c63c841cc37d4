import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Buildkitd, startBuildkitd } from '../support/buildkitd.ts';
import { type Daemon, launchDaemon, serving } from '../support/daemon.ts';
import { run } from '../support/program.ts';
import { gzipLayer, pushImage } from '../support/push-image.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { copyProgram, pushSmallBase } from '../support/small-base.ts';
import type { ImageLayer } from '../support/snapshots-client.ts';
import { repository } from '../support/tools.ts';
import { Cgroup } from '../support/cgroup.ts';
import { Workspace } from '../support/workspace.ts';
import { ordinary } from './manner.ts';

/** The program, as its users call it. */
export const lazypull = join(repository, 'bin', 'lazypull');

/** More than the layers of a few images, less than those of all: some are evicted all the time. */
const cacheBytes = '30MB';
/** What a daemon takes at most here, and some for what the kernel caches of its files. */
const littleMemoryBytes = 400 << 20;
const appCount = 7;
const filesOfApp = 60;
const applets = ['sh', 'sha256sum', 'cat', 'find'];

/** An image whose files are known. */
export interface App {
  readonly name: string;
  readonly reference: string;
  readonly layers: readonly ImageLayer[];
  /** By path in the image. */
  readonly files: ReadonlyMap<string, Buffer>;
}

/** Everything that a soak works with: a registry, a daemon with two clients, and a buildkitd that is one of them. */
export class World implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly registry: TestRegistry;
  readonly apps: readonly App[];
  /** The reference of the base that is exported. */
  readonly base: string;
  buildkitd: Buildkitd;
  daemon: Daemon;
  /** Of the client that is this process. */
  readonly readerSocket: string;
  /** Where the daemon's root, a symlink, leads. */
  readonly data: string;
  /** How daemons are started from now on. */
  manner = ordinary;
  /** A control group with little memory; undefined if this machine lets none be made. */
  readonly group: Cgroup | undefined;
  readonly #toml: string;

  private constructor(
    parts: Pick<World, 'workspace' | 'registry' | 'apps' | 'base' | 'buildkitd' | 'daemon' | 'readerSocket' | 'group'>,
    toml: string,
  ) {
    this.workspace = parts.workspace;
    this.registry = parts.registry;
    this.apps = parts.apps;
    this.base = parts.base;
    this.buildkitd = parts.buildkitd;
    this.daemon = parts.daemon;
    this.readerSocket = parts.readerSocket;
    this.data = join(parts.workspace.path, 'data');
    this.group = parts.group;
    this.#toml = toml;
  }

  static async open(): Promise<World> {
    await using stack = new AsyncDisposableStack();
    const workspace = stack.use(await Workspace.open('lp-soak'));
    const registry = stack.use(await startRegistry());
    const group = await Cgroup.make('memory', littleMemoryBytes).catch(() => undefined);
    if (group !== undefined) stack.use(group);
    const apps: App[] = [];
    for (let i = 0; i < appCount; i++) apps.push(await makeApp(workspace, registry, `app${i}`));
    await pushSmallBase(join(workspace.path, 'make'), registry.host, 'base');
    const base = await convert(registry, 'base');
    registry.options.redirect = true;

    const readerSocket = join(workspace.path, 'lp', 'rd.sock');
    const toml = `[cache]\nmax_size = "${cacheBytes}"\n[[client]]\nname = "reader"\naddress = ${JSON.stringify(readerSocket)}\n`;
    // The root is a symlink: what is found by its path has to be found by where that leads.
    await workspace.directory('data');
    await symlink('../data', join(await workspace.directory('lp'), 'root'));
    const daemon = stack.use(await launchDaemon(join(workspace.path, 'lp'), 'info', toml));
    await serving(daemon);
    const buildkitd = stack.use(await startBuilder(workspace, daemon.socket));
    stack.move();
    return new World({ workspace, registry, apps, base, buildkitd, daemon, readerSocket, group }, toml);
  }

  /** Starts a daemon and waits until it serves; one that runs has to have been ended, or hands over. */
  async start(...flags: string[]): Promise<void> {
    const before = this.daemon;
    this.daemon = await this.launch(...flags);
    await serving(this.daemon);
    await serving({ ...this.daemon, socket: this.readerSocket });
    if (flags.includes('--takeover')) await before.program.ended;
  }

  /** As `start`, without the wait. */
  launch(...flags: string[]): Promise<Daemon> {
    const { manner } = this;
    const directory = join(this.workspace.path, 'lp');
    return launchDaemon(directory, 'info', this.#toml, [...flags, ...manner.flags], {}, manner.launcher);
  }

  /** Starts buildkitd again after its end. */
  async startBuildkitd(): Promise<void> {
    this.buildkitd = await startBuilder(this.workspace, this.daemon.socket);
  }

  /** Copies the logs of the programs to .cache/log/soak. @returns that directory */
  async keepLogs(): Promise<string> {
    const directory = join(repository, '.cache', 'log', 'soak');
    await mkdir(directory, { recursive: true });
    for (const { spec } of [this.daemon.program, this.buildkitd.program]) {
      await copyFile(spec.log, join(directory, basename(spec.log)));
    }
    return directory;
  }

  /** Runs lazypull against the daemon. @returns its standard output */
  lazypull(...args: string[]): Promise<string> {
    const root = args[0] === 'cache' ? ['--root', this.daemon.root] : [];
    return run(lazypull, [...args, ...root, '--address', this.daemon.socket]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.buildkitd[Symbol.asyncDispose]();
    await this.daemon[Symbol.asyncDispose]();
    await this.registry[Symbol.asyncDispose]();
    await this.workspace[Symbol.asyncDispose](); // which ends keepers too
    await this.group?.[Symbol.asyncDispose]();
  }
}

function startBuilder(workspace: Workspace, socket: string): Promise<Buildkitd> {
  return startBuildkitd(join(workspace.path, 'bk'), { kind: 'oci', snapshotter: 'stargz', socket });
}

/** An image of a few programs, which all have in common, and of data that depends on the name alone. */
async function makeApp(workspace: Workspace, registry: TestRegistry, name: string): Promise<App> {
  const tree = (part: string) => join(workspace.path, 'make', name, part);
  for (const directory of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp']) {
    await mkdir(join(tree('programs'), directory), { recursive: true });
  }
  await copyProgram('/bin/busybox', tree('programs'), join('bin', 'busybox'));
  for (const applet of applets) await symlink('busybox', join(tree('programs'), 'bin', applet));
  await mkdir(join(tree('data'), 'data'), { recursive: true });
  const files = new Map<string, Buffer>();
  for (let i = 0; i < filesOfApp; i++) {
    const path = `data/f${i}`;
    const content = noise(`${name} ${i}`, (i * i * i * 37) % 400_000);
    files.set(path, content);
    await writeFile(join(tree('data'), path), content);
  }
  const layers = [];
  for (const part of ['programs', 'data']) {
    const flags = ['--numeric-owner', '--sort=name', '--mtime=@1600000000', '--format=pax'];
    flags.push('--pax-option=delete=atime,delete=ctime');
    await run('tar', [...flags, '-C', tree(part), '-cf', `${tree(part)}.tar`, '.']);
    layers.push(await gzipLayer(`${tree(part)}.tar`, `${tree(part)}.tar.gz`));
  }
  await pushImage(registry.host, name, 'plain', layers);
  const reference = await convert(registry, name);
  const bytes = registry.manifests.get(`${name}:esgz`)!.bytes.toString();
  const manifest = JSON.parse(bytes) as { readonly layers: readonly ImageLayer[] };
  return { name, reference, layers: manifest.layers, files };
}

/** Makes `name:esgz` of `name:plain`, in small chunks. @returns its reference */
async function convert(registry: TestRegistry, name: string): Promise<string> {
  const [plain, esgz] = ['plain', 'esgz'].map((tag) => `${registry.host}/${name}:${tag}`);
  await run(lazypull, ['convert', '--chunk-size', '50000', plain!, esgz!]);
  return esgz!;
}

/** Bytes that do not compress and depend on the name alone. */
function noise(name: string, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let offset = 0, block = 0; offset < length; offset += 64, block++) {
    createHash('sha512').update(`${name} ${block}`).digest().copy(bytes, offset);
  }
  return bytes;
}

/** The resident memory of a process, in MB. */
export async function residentMb(pid: number): Promise<number> {
  return Number(/VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1000;
}

import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LayerDirectory } from '../../src/layers/store/layer-directory.ts';
import { type Daemon, launchDaemon, serving, startDaemon } from './daemon.ts';
import type { EstargzBlob } from './estargz-blob.ts';
import { run } from './program.ts';
import { startRegistry, type TestRegistry } from './registry.ts';
import { type ImageLayer, SnapshotsClient } from './snapshots-client.ts';
import { endKeepers, unmountBelow, Workspace } from './workspace.ts';
import { retried } from './until.ts';

const tocDigestKey = 'containerd.io/snapshot/stargz/toc.digest';

/**
 * The daemon with a registry in this process, whose blobs and answers a test can spoil, and a client that mounts
 * layers.
 */
export class LayerLab implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly registry: TestRegistry;
  #daemon: Daemon;
  #client: SnapshotsClient;
  #snapshots = 0;

  readonly #toml: string;

  private constructor(workspace: Workspace, registry: TestRegistry, daemon: Daemon, toml: string) {
    this.#toml = toml;
    this.workspace = workspace;
    this.registry = registry;
    this.#daemon = daemon;
    this.#client = new SnapshotsClient(daemon.socket);
  }

  /**
   * `config` is the config file of the daemon, `mountRoot` puts its root directory on a disk of its own, and `checkout`
   * has the version of the first daemon, `env` is added to its environment.
   */
  static async open(
    config: string | ((registry: TestRegistry) => string) = '',
    mountRoot?: (root: string) => Promise<void>,
    checkout?: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<LayerLab> {
    await using stack = new AsyncDisposableStack();
    const workspace = stack.use(await Workspace.open('lp-layer'));
    const registry = stack.use(await startRegistry());
    const toml = typeof config === 'string' ? config : config(registry);
    await mountRoot?.(join(workspace.path, 'lp', 'root'));
    const daemon = stack.use(await startDaemon(join(workspace.path, 'lp'), 'debug', toml, env, [], checkout));
    stack.move();
    return new LayerLab(workspace, registry, daemon, toml);
  }

  /** Where the daemon keeps everything. */
  get root(): string {
    return this.#daemon.root;
  }

  /** The socket of the daemon. */
  get socket(): string {
    return this.#daemon.socket;
  }

  /** Has the registry serve a blob, and gives it as a layer of a manifest. */
  layer({ bytes, context }: Pick<EstargzBlob, 'bytes'> & { context: { tocDigest: string } }): ImageLayer {
    const digest = this.registry.addBlob(bytes);
    return { digest, annotations: { [tocDigestKey]: context.tocDigest } };
  }

  /** Has the layers prepared as an image of their own. @returns the name of the uppermost snapshot */
  prepare(layers: readonly ImageLayer[]): Promise<string> {
    return this.#client.prepareImage(`image-${this.#snapshots++}`, this.reference, layers);
  }

  /** Has one layer prepared on a snapshot, or on nothing. @returns whether it is lazy */
  isLazy(layer: ImageLayer, parent = ''): Promise<boolean> {
    return this.#client.prepareLayer(`layer-${this.#snapshots++}`, parent, this.reference, layer);
  }

  /** Mounts a view of a snapshot, or with `writable` an active one on it, in a new directory, which is returned. */
  async mount(snapshot: string, writable = false): Promise<string> {
    const directory = join(this.workspace.path, `mnt-${this.#snapshots++}`);
    await this.#client.mount(snapshot, directory, writable);
    return directory;
  }

  unmount(directory: string): Promise<void> {
    return this.#client.unmount(directory);
  }

  /** Removes an image's snapshots, the uppermost first. */
  async remove(snapshot: string, layers: number): Promise<void> {
    const name = snapshot.replace(/-\d+$/, '');
    for (let layer = layers - 1; layer >= 0; layer--) await this.#client.remove(`${name}-${layer}`);
  }

  /** Removes a snapshot once it is there. @returns false if it does not come */
  async removeIfThere(snapshot: string): Promise<boolean> {
    for (let waited = 0; waited < 5000; waited += 50) {
      const failure = await this.#client.remove(snapshot).catch((error: Error) => error);
      if (failure === undefined) return true;
      await delay(50);
    }
    return false;
  }

  /** Ends the daemon and starts a new one with its state. Nothing may be mounted, unless the signal is SIGKILL. */
  async restart(signal: NodeJS.Signals): Promise<void> {
    await this.#daemon.program.stop(signal);
    this.#client[Symbol.dispose]();
    this.#daemon = await startDaemon(join(this.workspace.path, 'lp'), 'debug', this.#toml);
    this.#client = new SnapshotsClient(this.#daemon.socket);
  }

  /** Has the kernel forget what it has read of every file: the next reads come to the daemon again. */
  async dropCaches(): Promise<void> {
    await writeFile('/proc/sys/vm/drop_caches', '3');
  }

  /**
   * Kills the daemon, starts others that are killed before they serve, and then one that stays. `aliveMs` is how long
   * each of the others lives.
   */
  async crash(...aliveMs: number[]): Promise<void> {
    const directory = join(this.workspace.path, 'lp');
    let { program } = this.#daemon;
    for (const ms of aliveMs) {
      await program.stop('SIGKILL');
      ({ program } = await launchDaemon(directory));
      await delay(ms);
    }
    await program.stop('SIGKILL');
    await this.restart('SIGKILL');
  }

  /**
   * Starts a daemon that takes the place of the one that runs.
   *
   * @returns when the old one has ended, and `ready` resolves when the new one serves. Calls in between are for the new
   * one
   */
  async takeOver(): Promise<{ ready: Promise<void> }> {
    const { program: before } = this.#daemon;
    this.#daemon = await launchDaemon(join(this.workspace.path, 'lp'), 'debug', '', ['--takeover']);
    await before.ended;
    this.#client[Symbol.dispose]();
    this.#client = new SnapshotsClient(this.#daemon.socket);
    return { ready: serving(this.#daemon) };
  }

  /**
   * Makes everything look as if the machine had been started again since the daemon was killed: nothing is mounted, and
   * what was written down is of another boot.
   */
  async reboot(): Promise<void> {
    await endKeepers(this.workspace.path);
    await unmountBelow(this.workspace.path);
    const layers = join(this.#daemon.root, 'layers');
    for (const name of await readdir(layers, { recursive: true })) {
      if (basename(name) !== 'layer.json') continue;
      const directory = new LayerDirectory(join(layers, dirname(name)));
      const record = await directory.record();
      if (record === undefined) throw new Error(`No record in ${name}`);
      const { resident, isOfThisBoot } = await directory.resident(record);
      if (!isOfThisBoot) throw new Error(`No residency beside ${name}`);
      await new LayerDirectory(directory.path, 'another boot').writeResident(record, resident);
    }
  }

  /** Where the daemon keeps the files of a layer. */
  layerDirectory({ digest, annotations }: ImageLayer): string {
    const tocDigest = annotations?.[tocDigestKey] ?? '';
    const [layer, toc] = [digest, tocDigest].map((each) => each.slice('sha256:'.length));
    return join(this.#daemon.root, 'layers', layer!, toc!);
  }

  /** Removes a snapshot and the view of it in `directory`, which stays mounted. */
  async removeMounted(snapshot: string, directory: string): Promise<void> {
    await this.#client.remove(`mounted-${directory}`);
    await this.#client.remove(snapshot);
  }

  /** As `mount`, for a snapshot whose layers may still be on their way. */
  mountWhenAvailable(snapshot: string): Promise<string> {
    return retried(
      () => this.mount(snapshot),
      (error) => /unavailable/i.test(String(error)),
    );
  }

  /** The daemon that runs now. */
  get daemon(): Daemon {
    return this.#daemon;
  }

  /** The warnings and errors in the daemon's log. */
  get complaints(): Record<string, unknown>[] {
    return this.#daemon.log().filter(({ level }) => level === 'error' || level === 'warn');
  }

  /** The daemon's metrics by the names with labels, if its config file has a `metrics_address` with the port 0. */
  async metrics(): Promise<Map<string, number>> {
    const port = this.#daemon.log().findLast(({ msg }) => msg === 'serving metrics')?.['port'];
    const text = await (await fetch(`http://127.0.0.1:${String(port)}/metrics`)).text();
    const lines = text.split('\n').filter((line) => /^[a-z]/.test(line));
    return new Map(
      lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
    );
  }

  /** The most memory that the daemon has had so far, in MB. */
  peakMemory(): Promise<number> {
    return this.#memory('VmHWM');
  }

  /** The memory that the daemon has now, in MB. */
  residentMemory(): Promise<number> {
    return this.#memory('VmRSS');
  }

  async #memory(field: string): Promise<number> {
    const status = await readFile(`/proc/${this.#daemon.program.pid}/status`, 'utf8');
    return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1000;
  }

  /** The process id of the daemon. */
  get pid(): number {
    return this.#daemon.program.pid;
  }

  /** The image that the layers are of. */
  get reference(): string {
    return `${this.registry.host}/image:latest`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
    await this.#daemon[Symbol.asyncDispose]();
    await this.registry[Symbol.asyncDispose]();
    await this.workspace[Symbol.asyncDispose]();
  }
}

/**
 * Mounts a new ext4 file system of a size at a directory; the file that it is in is made at `image`. It has room for
 * about `files` files. The workspace unmounts it.
 */
export async function mountDisk(
  directory: string,
  bytes: number,
  image = `${directory}.ext4`,
  files = Math.ceil(bytes / 4096),
): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(image, '');
  await truncate(image, bytes);
  await run('mkfs.ext4', ['-q', '-m', '0', '-N', String(files), '-E', 'lazy_journal_init=0', image]);
  await run('mount', ['-o', 'loop', image, directory]);
}

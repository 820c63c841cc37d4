import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Containerd, startContainerdWith } from './containerd.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { type Engine, type EngineVersion, startEngineOn } from './engine.ts';
import type { Lab } from './lab.ts';
import { freePort } from './ports.ts';
import { run } from './program.ts';
import { repository } from './tools.ts';
import { until } from './until.ts';

const lazypull = join(repository, 'bin', 'lazypull');
/** Where Engines look for a directory of each registry; no flag of theirs changes that. */
const certificates = '/etc/docker/certs.d';

/** An Engine that pulls lazily, set up with `lazypull setup`, with what it stands on. */
export class LazyEngine implements AsyncDisposable {
  readonly containerd: Containerd;
  readonly #directory: string;
  readonly #version: EngineVersion;
  #daemon: Daemon;
  #engine: Engine;

  private constructor(
    directory: string,
    version: EngineVersion,
    daemon: Daemon,
    containerd: Containerd,
    engine: Engine,
  ) {
    this.#directory = directory;
    this.#version = version;
    this.#daemon = daemon;
    this.containerd = containerd;
    this.#engine = engine;
  }

  static async start(lab: Lab, version: EngineVersion): Promise<LazyEngine> {
    const directory = join(lab.workspace.path, `engine-${version}`);
    await mkdir(join(directory, 'cd'), { recursive: true });
    await using stack = new AsyncDisposableStack();
    const daemon = stack.use(await startDaemonIn(directory));
    const config = join(directory, 'config.toml');
    const places = ['--address', daemon.socket, '--root', daemon.root];
    await run(lazypull, ['setup', 'containerd', '--write', '--file', config, ...places]);
    const engineConfig = join(directory, 'daemon.json');
    await writeFile(engineConfig, '{ "live-restore": true }\n');
    await run(lazypull, ['setup', 'docker', '--write', '--file', engineConfig, ...places]);
    const containerd = stack.use(await startContainerdWith(join(directory, 'cd'), config));
    const engine = stack.use(await startEngineIn(directory, version, containerd));
    stack.move();
    return new LazyEngine(directory, version, daemon, containerd, engine);
  }

  get daemon(): Daemon {
    return this.#daemon;
  }

  get engine(): Engine {
    return this.#engine;
  }

  docker(...args: readonly string[]): Promise<string> {
    return this.#engine.docker(...args);
  }

  /** Runs ctr in the namespace of the Engine. */
  ctr(...args: readonly string[]): Promise<string> {
    return this.containerd.ctr('--namespace', 'moby', ...args);
  }

  lazypull(...args: readonly string[]): Promise<string> {
    return run(lazypull, args);
  }

  /** The digests of what the content store has. */
  async content(): Promise<string[]> {
    return (await this.ctr('content', 'ls', '--quiet')).trim().split('\n');
  }

  /** Ends the Engine with the signal, which leaves its containers alone, and starts it again. */
  async restartEngine(signal: NodeJS.Signals): Promise<void> {
    await this.#engine.program.stop(signal);
    this.#engine = await startEngineIn(this.#directory, this.#version, this.containerd);
  }

  /** Ends the daemon with SIGKILL, begins to read, starts it again, and waits for what was read. */
  async killDaemon(read: () => Promise<unknown>): Promise<void> {
    await this.#daemon.program.stop('SIGKILL');
    const reading = read();
    [this.#daemon] = await Promise.all([startDaemonIn(this.#directory), reading]);
  }

  /** From now on until it is disposed of, the daemon has a mirror, and the Engine asks it for the registry. */
  async useMirror(registry: string): Promise<AsyncDisposable> {
    const address = `127.0.0.1:${await freePort()}`;
    await this.#daemon.program.stop();
    this.#daemon = await startDaemonIn(this.#directory, `[mirror]\naddress = "${address}"\n`);
    const config = join(this.#directory, 'daemon.json');
    const mirror = ['--mirror', address, '--registry', registry];
    await this.lazypull('setup', 'docker', '--write', '--file', config, ...mirror);
    // Its builder remembers where a repository is.
    await this.restartEngine('SIGTERM');
    return { [Symbol.asyncDispose]: () => rm(join(certificates, registry), { recursive: true }) };
  }

  /** Removes all containers, images and builds, and what is kept of layers, but not their indexes. */
  async forgetLayers(): Promise<void> {
    await this.docker('system', 'prune', '--all', '--force');
    const layers = join(this.#daemon.root, 'layers');
    if (!existsSync(layers)) return;
    await until(async () => {
      await this.lazypull('cache', 'prune', '--address', this.#daemon.socket);
      return !(await readdir(layers, { recursive: true })).some((name) => name.endsWith('layer.json'));
    }, 'Docker names no layers any more');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine[Symbol.asyncDispose]();
    await this.containerd[Symbol.asyncDispose]();
    await this.#daemon[Symbol.asyncDispose]();
  }
}

function startDaemonIn(directory: string, toml = ''): Promise<Daemon> {
  return startDaemon(join(directory, 'lp'), 'debug', `no_background_fetch = true\n${toml}`);
}

function startEngineIn(directory: string, version: EngineVersion, containerd: Containerd): Promise<Engine> {
  return startEngineOn(join(directory, 'engine'), version, containerd, join(directory, 'daemon.json'));
}

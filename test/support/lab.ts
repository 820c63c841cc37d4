import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { convertWithBuildkit } from './buildkit-convert.ts';
import { type Buildkitd, startBuildkitd, type Worker } from './buildkitd.ts';
import { type Containerd, startContainerd } from './containerd.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { getManifest, type Manifest } from './push-image.ts';
import { type RegistryProcess, startRegistry } from './registry-process.ts';
import { Relay, type RelayedRequest } from './relay.ts';
import { pushSmallBase } from './small-base.ts';
import { Workspace } from './workspace.ts';

/** The User-Agent of lazypull's registry client. */
export const lazypullAgent = /lazypull/i;

/** A buildkitd with what it stands on. */
export interface Builder extends AsyncDisposable {
  /** Of its state: lazypull's in `lp`, containerd's in `cd`, buildkitd's in `bk`. */
  readonly directory: string;
  readonly buildkitd: Buildkitd;
  /** Undefined for a builder on overlayfs. */
  readonly daemon: Daemon | undefined;
  readonly containerd: Containerd | undefined;
}

/**
 * A registry behind a relay with the small base in it, as `base:plain` and `base:latin1`, and `base:plain` written as
 * eStargz by BuildKit as `base:esgz`.
 */
export class Lab implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly registry: RegistryProcess;
  readonly relay: Relay;
  readonly base: Manifest;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    stack: AsyncDisposableStack,
    workspace: Workspace,
    registry: RegistryProcess,
    relay: Relay,
    base: Manifest,
  ) {
    this.#stack = stack;
    this.workspace = workspace;
    this.registry = registry;
    this.relay = relay;
    this.base = base;
  }

  static async open(): Promise<Lab> {
    await using stack = new AsyncDisposableStack();
    const workspace = stack.use(await Workspace.open('lp-e2e'));
    const registry = stack.use(await startRegistry(join(workspace.path, 'registry')));
    const relay = stack.use(await Relay.start(registry.port));
    await pushSmallBase(join(workspace.path, 'make'), relay.host, 'base');
    await convertWithBuildkit(join(workspace.path, 'convert'), `${relay.host}/base:plain`, `${relay.host}/base:esgz`);
    const base = await getManifest(relay.host, 'base', 'esgz');
    if (base === undefined) throw new Error('BuildKit pushed no eStargz image');
    return new Lab(stack.move(), workspace, registry, relay, base);
  }

  /** The reference of an image in the registry, through the relay. */
  reference(name: string): string {
    return `${this.relay.host}/${name}`;
  }

  /** The requests from number `since` on with which a client fetched a layer's blob itself, past lazypull. */
  pulls(since: number, layers: Manifest['layers'] = this.base.layers): RelayedRequest[] {
    return this.relay.requests
      .slice(since)
      .filter(
        ({ method, path, agent }) =>
          method === 'GET' && !lazypullAgent.test(agent) && layers.some(({ digest }) => path.includes(digest)),
      );
  }

  /** A context of one Dockerfile. */
  async context(name: string, dockerfile: string): Promise<string> {
    const directory = join(this.workspace.path, 'contexts', name);
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'Dockerfile'), dockerfile);
    return directory;
  }

  /**
   * Daemons with state in a directory of that name: lazypull (unless `lazy` is false) with `toml` as its config file,
   * containerd if the worker needs it, buildkitd with `buildkitdToml`.
   */
  async builder(name: string, kind: Worker['kind'], lazy = true, toml = '', buildkitdToml = ''): Promise<Builder> {
    const directory = join(this.workspace.path, name);
    await using stack = new AsyncDisposableStack();
    const daemon = lazy ? stack.use(await startDaemon(join(directory, 'lp'), 'debug', toml)) : undefined;
    const containerd =
      kind === 'containerd' ? stack.use(await startContainerd(join(directory, 'cd'), daemon?.socket)) : undefined;
    const buildkitd = stack.use(
      await startBuildkitd(join(directory, 'bk'), workerOf(daemon, containerd), buildkitdToml),
    );
    return { directory, buildkitd, daemon, containerd, [Symbol.asyncDispose]: disposer(stack.move()) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** The worker on what was started for it. */
export function workerOf(daemon: Daemon | undefined, containerd: Containerd | undefined): Worker {
  if (containerd !== undefined) {
    return {
      kind: 'containerd',
      snapshotter: daemon === undefined ? 'overlayfs' : 'stargz',
      address: containerd.address,
    };
  }
  if (daemon === undefined) return { kind: 'oci', snapshotter: 'overlayfs' };
  return { kind: 'oci', snapshotter: 'stargz', socket: daemon.socket };
}

function disposer(stack: AsyncDisposableStack): () => Promise<void> {
  return () => stack.disposeAsync();
}

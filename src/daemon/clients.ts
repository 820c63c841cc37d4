import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type ClientConfig, firstClientName, nameOfAddress } from '../config/client-list.ts';
import { LazypullError } from '../errors.ts';
import type { Layers } from '../layers/layers.ts';
import type { Log } from '../log.ts';
import type { SnapshotMetrics } from '../snapshots/metrics.ts';
import type { Spans } from '../spans.ts';
import type { Xino } from '../snapshots/mounts.ts';
import type { PrepareOutcome } from '../snapshots/prepare-history.ts';
import { StoreOwner } from '../snapshots/store-owner.ts';
import { openSnapshotter, type Snapshotter } from '../snapshots/snapshotter.ts';
import type { ClientStatus, MountedLayer } from '../status/status.ts';

/** A client and its snapshots. */
export interface Client {
  readonly config: ClientConfig;
  readonly snapshotter: Snapshotter;
  readonly process: StoreOwner;
}

/** The clients of a daemon. Each has a store of its own; all share the layers. */
export class Clients implements AsyncDisposable {
  readonly all: readonly Client[];
  readonly #root: string;
  readonly #layers: Layers;

  /**
   * Opens their stores below `root`.
   *
   * @throws FailedPrecondition if a store is that of another client; else as `openSnapshotter`
   */
  static async open(
    root: string,
    configs: readonly ClientConfig[],
    layers: Layers,
    log: Log,
    metrics: SnapshotMetrics,
    xino: Xino | undefined,
    spans: Spans,
  ): Promise<Clients> {
    await checkStores(root, configs, log);
    await using stack = new AsyncDisposableStack();
    const all: Client[] = [];
    for (const config of configs) {
      const own = clientRoot(root, config.name);
      const parts = { root: own, layers, log, metrics, client: config.name, xino, spans };
      const snapshotter = stack.use(await openSnapshotter(parts));
      const process = new StoreOwner(join(own, 'snapshotter', 'client.json'), config.address, log);
      all.push({ config, snapshotter, process });
    }
    stack.move();
    return new Clients(root, layers, all);
  }

  private constructor(root: string, layers: Layers, all: readonly Client[]) {
    this.#root = root;
    this.#layers = layers;
    this.all = all;
  }

  /** `Snapshotter.restore` of all clients. */
  async restore(): Promise<void> {
    for (const { snapshotter } of this.all) await snapshotter.restore();
  }

  /** `Snapshotter.leave` of all clients. */
  async leave(): Promise<void> {
    for (const { snapshotter } of this.all) await snapshotter.leave();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { snapshotter } of this.all) await snapshotter.close();
  }

  /** Which clients these are. */
  status(): ClientStatus[] {
    return this.all.map(({ config: { name, address }, process }) => ({
      name,
      address,
      process: process.process,
      refused: process.refused,
    }));
  }

  /** The state of the mounted layers, and the clients that have them. */
  async layers(): Promise<MountedLayer[]> {
    const clients = new Map<string, Set<string>>();
    for (const [path, digest] of this.#layers.mountPoints()) {
      const client = this.all.find(({ config }) =>
        path.startsWith(`${clientRoot(this.#root, config.name)}/snapshotter/`),
      );
      if (client !== undefined) clients.set(digest, (clients.get(digest) ?? new Set()).add(client.config.name));
    }
    const layers = await this.#layers.status();
    return layers.map((layer) => ({ ...layer, clients: [...(clients.get(layer.digest) ?? [])].sort() }));
  }

  /**
   * The outcomes of Prepare for the layers with these digests, or for all layers, of all clients; the latest comes
   * last.
   */
  outcomes(digests: readonly string[]): PrepareOutcome[] {
    const outcomes = this.all.flatMap(({ snapshotter }) => snapshotter.outcomes.list(digests));
    return this.all.length === 1 ? outcomes : outcomes.toSorted((a, b) => a.atMs - b.atMs);
  }
}

/** The directory of a client's snapshots. The first client's is the place where a daemon with one client keeps them. */
function clientRoot(root: string, name: string): string {
  return name === firstClientName ? root : join(clientsPath(root), name);
}

/** The roots of all clients, present and past, of a daemon with this root. */
export async function clientRoots(root: string): Promise<string[]> {
  return [root, ...(await namedClients(root)).map((name) => clientRoot(root, name))];
}

/** Each client removes all snapshots that it does not know, so none may get those of another. */
async function checkStores(root: string, configs: readonly ClientConfig[], log: Log): Promise<void> {
  const known = new Set(configs.map(({ name }) => name));
  const strangers = (await namedClients(root)).filter((name) => !known.has(name));
  const first = configs[0]!;
  const old = strangers.find((name) => name === nameOfAddress(first.address));
  if (old !== undefined && existsSync(join(clientRoot(root, old), 'snapshotter'))) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot serve "${first.address}" as the first client: it was another one before, and its snapshots are in "${clientRoot(root, old)}"`,
      {
        hint: 'give every --address in the same order as before, or remove that directory if the client has forgotten its images',
      },
    );
  }
  for (const name of strangers) {
    const path = clientRoot(root, name);
    log.warn({ client: name, path }, 'keeping the snapshots of a client that is not served: remove them if it is gone');
  }
}

async function namedClients(root: string): Promise<string[]> {
  return readdir(clientsPath(root)).catch(() => []);
}

function clientsPath(root: string): string {
  return join(root, 'clients');
}

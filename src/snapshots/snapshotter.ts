/**
 * containerd's Snapshots service. It knows labels, parents and mounts, and asks `layers/` for everything lazy.
 *
 * Begin with `Snapshotter`, which has the rules. `service.ts` is the gRPC edge and `server.ts` the socket. `store.ts`
 * keeps snapshots in SQLite, `directories.ts` their files. `mounts.ts` has the shapes of mounts, `filters.ts`
 * containerd's filters.
 */

import { existsSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { LazypullError, codeOf, explain, messageOf } from '../errors.ts';
import type { LayerOrigin } from '../layers/layer-origin.ts';
import type { LayerRef } from '../layers/resolve/layer-ref.ts';
import { Refusal } from '../layers/resolve/refusal.ts';
import { asRefusal } from '../layers/resolve/refusal-reason.ts';
import type { Log } from '../log.ts';
import { noSpans, type Spans } from '../spans.ts';
import { tracedPrepare } from './traced-prepare.ts';
import { Directories } from './directories.ts';
import { parseFilters } from './filters.ts';
import { targetLabel } from '../label-names.ts';
import { sourceOf } from './labels.ts';
import { type SnapshotMetrics, snapshotMetrics } from './metrics.ts';
import { mountsOf, type Xino } from './mounts.ts';
import { PrepareHistory } from './prepare-history.ts';
import type { RemoteLayers, RemoteOutcome } from './remote-layers.ts';
import type { Caller, Kind, Labels, Mount, Prepared, SnapshotInfo, Snapshots, Usage } from './snapshot.ts';
import { type Link, SnapshotStore, type StoredSnapshot } from './store.ts';
import { diskUsage, keepsUsage, TreeUsages } from './usage.ts';
import { inParallel } from '../util/in-parallel.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

const mountsAtOnce = 16;

/**
 * The parts of a snapshotter. `root` is the directory of this client alone. One store serves one client, because a
 * client's garbage collection removes every snapshot that it does not know.
 */
export interface SnapshotterParts {
  readonly root: string;
  readonly store: SnapshotStore;
  readonly layers: RemoteLayers;
  readonly log: Log;
  readonly spans?: Spans | undefined;
  readonly metrics?: SnapshotMetrics | undefined;
  /** The name of the client, for metrics. */
  readonly client?: string;
  /** For overlays with a lazy layer; undefined for the kernel's own setting. */
  readonly xino?: Xino | undefined;
}

/**
 * Opens the snapshotter whose state is below `<root>/snapshotter`, and makes that directory if it is not there. Throws
 * FailedPrecondition if stargz-snapshotter keeps its state there; else as `Database`.
 */
export async function openSnapshotter(parts: Omit<SnapshotterParts, 'store'>): Promise<Snapshotter> {
  const root = join(parts.root, 'snapshotter');
  makeDirectory(join(root, 'snapshots'), 0o700);
  await chmod(root, 0o700);
  const path = join(root, 'snapshots.db');
  if (existsSync(join(root, 'metadata.db')) && !existsSync(path)) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot use "${parts.root}": it holds snapshots of another program, which would be lost`,
      { hint: `choose another root, or remove its images and delete "${root}"` },
    );
  }
  return new Snapshotter({ ...parts, root, store: new SnapshotStore(path) });
}

/**
 * containerd's snapshot rules over a store, directories and lazy layers. Call `restore` once before serving. No call
 * holds a transaction while it waits: each checks, waits, and checks again in the transaction that writes.
 */
export class Snapshotter implements Snapshots, AsyncDisposable {
  /** The outcomes of Prepare for the layers that the client asked for. */
  readonly outcomes = new PrepareHistory();
  readonly #openStore: SnapshotStore;
  readonly #layers: RemoteLayers;
  readonly #log: Log;
  readonly #directories: Directories;
  readonly #metrics: SnapshotMetrics;
  readonly #xino: Xino | undefined;
  readonly #spans: Spans;
  readonly #usages = new TreeUsages();
  /** Lazy layers that should be mounted and are not. The value is the mounting, if it is under way. */
  readonly #unmounted = new Map<number, Promise<void> | undefined>();
  /** Why they are not mounted. */
  readonly #reasons = new Map<number, unknown>();
  #closing: Promise<void> | undefined;

  constructor({ root, store, layers, log, metrics = snapshotMetrics(), client = '', xino, spans }: SnapshotterParts) {
    this.#openStore = store;
    this.#layers = layers;
    this.#log = log;
    this.#directories = new Directories(join(root, 'snapshots'), layers, log);
    this.#metrics = metrics;
    this.#xino = xino;
    this.#spans = spans ?? noSpans;
    for (const kind of ['view', 'active', 'committed'] as const) {
      metrics.stored.from(() => store.count(kind), { client, kind });
    }
  }

  stat(key: string): SnapshotInfo {
    return this.#store.get(key).info;
  }

  update(name: string, labels: Labels, paths: readonly string[]): SnapshotInfo {
    return this.#store.update(name, labels, paths);
  }

  /** A committed snapshot is counted once, at the first call, so that Commit need not wait for it. */
  async usage(key: string, namespace = ''): Promise<Usage> {
    const { id, info, remote, usage } = this.#store.get(key);
    const content = this.#directories.content(id);
    if (info.kind === 'view') return { inodes: 0, bytes: 0 };
    if (info.kind === 'active') return this.#usages.of(content);
    if (remote) {
      const { inodes, bytes, mostBytes } = await this.#layers.usage(content);
      return { inodes, bytes: keepsUsage(namespace) ? mostBytes : bytes };
    }
    if (usage) return usage;
    const walked = await diskUsage(content);
    this.#store.setUsage(id, walked);
    return walked;
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    const { id, info } = this.#store.get(key);
    if (info.kind === 'committed') {
      throw new LazypullError('FailedPrecondition', `Cannot mount "${key}": it is not an active snapshot or a view`);
    }
    const parents = this.#store.chain(id).slice(1);
    await this.#checkAvailable(parents);
    return this.#mountsOf(id, info.kind, parents);
  }

  async prepare(key: string, parent: string, labels: Labels, caller: Caller = {}): Promise<Prepared> {
    const target = labels[targetLabel];
    if (target) {
      const prepare = () => this.#prepareRemote(key, parent, target, labels, caller.signal);
      const outcome = await tracedPrepare(this.#spans, labels, caller.traceparent, prepare);
      this.#note(outcome, key, parent, labels);
      if (outcome.isReady) return { ready: target };
    }
    caller.signal?.throwIfAborted();
    return { mounts: await this.#create('active', key, parent, labels) };
  }

  async view(key: string, parent: string, labels: Labels): Promise<readonly Mount[]> {
    return this.#create('view', key, parent, labels);
  }

  commit(name: string, key: string, parent: string, labels: Labels): void {
    this.#store.commit(name, key, parent, labels);
  }

  remove(key: string): void {
    const { id } = this.#store.remove(key);
    const mounting = this.#unmounted.get(id);
    this.#unmounted.delete(id);
    this.#reasons.delete(id);
    this.#usages.forget(this.#directories.content(id));
    void this.#directories.removeLater(id, mounting).then((isGone) => {
      if (isGone) this.#openStore.noteGone(id);
    });
  }

  async *list(filters: readonly string[]): AsyncGenerator<SnapshotInfo> {
    for await (const { info } of this.#store.list(parseFilters(filters))) yield info;
  }

  async cleanup(): Promise<void> {
    const records = () => ({ known: this.#store.ids(), removed: this.#store.removedIds() });
    for (const id of await this.#directories.removeStrays(records)) this.#openStore.noteGone(id);
  }

  /**
   * Makes every lazy layer readable again from the files on disk. Then starts to remove what removed snapshots and
   * interrupted calls have left. A layer that needs the registry is mounted in the background. If a layer cannot be
   * mounted, that is logged, and its record stays. It is Unavailable until a later try succeeds: the next Prepare of
   * its target, or of a snapshot on top of it.
   */
  async restore(): Promise<void> {
    const remotes = this.#store.remotes();
    for (const { id } of remotes) this.#unmounted.set(id, undefined);
    this.#store.reserveIds(this.#directories.highestId());
    const absent: StoredSnapshot[] = [];
    await inParallel(remotes, mountsAtOnce, async (snapshot) => {
      const { id, info } = snapshot;
      try {
        await this.#layers.restore(this.#directories.content(id), this.#layerOf(info.labels));
        this.#unmounted.delete(id);
      } catch (error) {
        this.#reasons.set(id, error);
        const fields = { snapshot: info.name, error: messageOf(error) };
        this.#warn('a remote snapshot is not on the disk, and is fetched again', info.labels, fields);
        absent.push(snapshot);
      }
    });
    void inParallel(absent, mountsAtOnce, async (snapshot) => {
      if (!this.#closing) await this.#retry(snapshot);
    });
    this.cleanup().catch((error: unknown) => {
      this.#log.warn({ error: messageOf(error) }, 'failed to remove stray directories');
    });
  }

  /** Closes the store. Lazy layers stay mounted, and directories to remove stay, for the next life of the program. */
  async leave(): Promise<void> {
    this.#closing = Promise.resolve();
    await this.#directories.leave();
    this.#openStore.close();
  }

  /** Unmounts the lazy layers and closes the store. A second call waits for the first. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    const remotes = this.#openStore.remotes();
    await Promise.allSettled([...this.#unmounted.values()].filter((mounting) => mounting !== undefined));
    await inParallel(remotes, mountsAtOnce, async ({ id, info }) => {
      try {
        await this.#layers.unmount(this.#directories.content(id));
      } catch (error) {
        this.#warn('failed to unmount remote snapshot', info.labels, { snapshot: info.name, error: messageOf(error) });
      }
    });
    await this.#directories.stop();
    this.#openStore.close();
  }

  get #store(): SnapshotStore {
    if (this.#closing) throw new LazypullError('Unavailable', 'The snapshotter has been closed');
    return this.#openStore;
  }

  async #prepareRemote(
    key: string,
    parent: string,
    target: string,
    labels: Labels,
    signal: AbortSignal | undefined,
  ): Promise<RemoteOutcome> {
    const present = this.#store.find(target);
    if (present?.info.kind === 'committed' && present.info.parent === parent) {
      const mounting = this.#unmounted.has(present.id) ? this.#mountAgain(present) : undefined;
      return { isReady: true, refusal: await mounting?.then(() => undefined, asRefusal) };
    }
    const chain = this.#store.parentChain(key, parent);
    if (present) {
      const message = `the name "${target}" belongs to a snapshot that is not committed or has another parent`;
      return { isReady: false, refusal: new Refusal('name', 'FailedPrecondition', message) };
    }
    // Most layers of most images are ordinary. This check saves making and removing a directory for each of them.
    const layer = this.#layers.resolve(labels);
    const refusal = layer instanceof Refusal ? layer : this.#layers.refusalOf(layer);
    if (layer instanceof Refusal || refusal !== undefined) return { isReady: false, refusal };

    const id = this.#store.allocateId();
    let origin: LayerOrigin | undefined;
    const [content, ...lower] = [id, ...chain.map((link) => link.id)].map((each) => this.#directories.content(each));
    try {
      try {
        await this.#directories.create(id, 'committed');
        origin = await this.#layers.mount(content!, layer, signal);
        await this.#layers.checkStacking(content!, lower);
      } catch (error) {
        await this.#directories.remove(id);
        signal?.throwIfAborted();
        return { isReady: false, refusal: asRefusal(error) };
      }
      try {
        this.#store.create({ id, name: target, kind: 'committed', parent, labels, remote: true });
      } catch (error) {
        await this.#directories.remove(id);
        if (codeOf(error) !== 'AlreadyExists') throw error;
        return { isReady: true, origin };
      }
    } finally {
      this.#directories.release(id);
    }
    this.#log.info(
      { key, parent, target, ...sourceOf(labels), how: origin.text, 'remote-snapshot-prepared': 'true' },
      'prepared remote snapshot',
    );
    return { isReady: true, origin };
  }

  #note({ refusal, origin }: RemoteOutcome, key: string, parent: string, labels: Labels): void {
    if (refusal === undefined) {
      this.#metrics.prepared.add(1, { outcome: 'lazy', reason: 'none' });
      this.outcomes.note(labels, undefined, origin);
      return;
    }
    const { reason } = refusal;
    const error = explain(refusal);
    this.#metrics.prepared.add(1, { outcome: 'refused', reason });
    this.outcomes.note(labels, { reason, message: error });
    const fields = { key, parent, reason, error, 'remote-snapshot-prepared': 'false' };
    this.#warn('failed to prepare remote snapshot', labels, fields);
  }

  async #create(kind: Kind, key: string, parent: string, labels: Labels): Promise<readonly Mount[]> {
    const chain = this.#store.parentChain(key, parent);
    await this.#checkAvailable(chain);
    const id = this.#store.allocateId();
    try {
      await this.#directories.create(id, kind, chain[0]?.id);
      const parents = this.#store.create({ id, name: key, kind, parent, labels, remote: false });
      return this.#mountsOf(id, kind, parents);
    } catch (error) {
      await this.#directories.remove(id);
      this.#store.parentChain(key, parent);
      throw error;
    } finally {
      this.#directories.release(id);
    }
  }

  #mountsOf(id: number, kind: Kind, parents: readonly Link[]): readonly Mount[] {
    const xino = parents.some(({ remote }) => remote) ? this.#xino : undefined;
    return mountsOf(this.#directories.path, { id, kind, parents: parents.map((parent) => parent.id), xino });
  }

  async #checkAvailable(chain: readonly Link[]): Promise<void> {
    await Promise.all(chain.filter(({ remote }) => remote).map(({ id }) => this.#checkLayer(id)));
  }

  async #checkLayer(id: number): Promise<void> {
    try {
      await this.#layers.check(this.#directories.content(id));
    } catch (error) {
      if (this.#unmounted.has(id) && !this.#unmounted.get(id)) {
        const snapshot = this.#store.findById(id);
        if (snapshot) void this.#retry(snapshot);
      }
      const reason = this.#reasons.get(id) ?? error;
      throw new LazypullError('Unavailable', `layer "${id}" unavailable: ${messageOf(reason)}`, { cause: reason });
    }
  }

  async #retry(snapshot: StoredSnapshot): Promise<void> {
    try {
      await this.#mountAgain(snapshot);
    } catch (error) {
      const fields = { snapshot: snapshot.info.name, error: messageOf(error) };
      this.#warn('failed to restore remote snapshot', snapshot.info.labels, fields);
    }
  }

  #mountAgain({ id, info }: StoredSnapshot): Promise<void> {
    const running = this.#unmounted.get(id);
    if (running) return running;
    const mounting = this.#remount(id, info.labels);
    this.#unmounted.set(id, mounting);
    return mounting;
  }

  async #remount(id: number, labels: Labels): Promise<void> {
    const content = this.#directories.content(id);
    try {
      await this.#layers.unmount(content);
      await this.#layers.mount(content, this.#layerOf(labels));
      this.#unmounted.delete(id);
      this.#reasons.delete(id);
    } catch (error) {
      if (this.#unmounted.has(id)) {
        this.#unmounted.set(id, undefined);
        this.#reasons.set(id, error);
      }
      throw error;
    }
  }

  /** Throws the reason if the labels name no layer. */
  #layerOf(labels: Labels): LayerRef {
    const layer = this.#layers.resolve(labels);
    if (layer instanceof Refusal) throw layer;
    return layer;
  }

  #warn(message: string, labels: Labels, fields: object): void {
    this.#log.warn({ ...fields, ...sourceOf(labels) }, message);
  }
}

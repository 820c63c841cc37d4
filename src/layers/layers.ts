/**
 * The life of a lazy layer, from the labels of a snapshot to the mount, its readers and its end. It knows registries
 * through blobs, formats through `LayerFormat`, and the kernel through `fuse/` and `fronts/`; it knows no snapshots and
 * no gRPC.
 *
 * Words: an *index* says which files a layer has and where their bytes are in the blob. A *chunk* is fetched and
 * verified as one. The *image* of a layer is the sparse file that the kernel mounts; its *table* lists the chunks, and
 * its *residency* says which are here. A *record* (`layer.json`) says that the files of a layer can be trusted. A
 * *miss* is a read of a chunk that is not here, and a *window* what is fetched with it. A *trace* is what an earlier
 * container read. An *idle* layer has its table on the disk only. Begin with `Layers`, then `layer.ts`.
 *
 * `resolve/` leads to an index, `fetch/` answers misses, `store/` keeps files, `cache/` makes room, `workers/` and
 * `pull/` work in threads, `uses/` remembers what layers did.
 */

import { join } from 'node:path';
import { layerIdOfKey, type LayerKey, layerKey } from '../chunks/layer-id.ts';
import { messageOf } from '../errors.ts';
import { Formats } from '../formats/index.ts';
import { Fronts } from '../fronts/index.ts';
import type { Labels } from '../formats/layer-format.ts';
import type { Practice } from '../formats/practice.ts';
import type { ImageAccess } from '../images/image-access.ts';
import { type FuseConnection, inheritConnection, type HeldConnection, openConnection } from '../fuse/connection.ts';
import { unlessAborted } from '../util/unless-aborted.ts';
import { Cache } from './cache/cache.ts';
import { cacheBytes, cacheSize, layerUsage } from './cache/cache-bytes.ts';
import { DiskBudget } from './cache/disk-budget.ts';
import { defaultCacheLimits } from './cache/cache-limits.ts';
import { Background } from './fetch/background.ts';
import { FuseLink } from './fuse-link.ts';
import type { Layer } from './layer.ts';
import { LayerOpener } from './layer-opener.ts';
import type { LayerOrigin } from './layer-origin.ts';
import { type LayerStatus, statusOfPull } from './layer-status.ts';
import type { LayersOptions } from './layers-options.ts';
import { LeftReaders } from './left-readers.ts';
import { type MemoryBudget, memoryBudget } from './memory-budget.ts';
import { type LayerMetrics, layerMetrics } from './metrics.ts';
import { MountPoints } from './mount-points.ts';
import { type OpenLayer, OpenLayers } from './open-layers.ts';
import { checkStacking, type Stacking } from './plan/stacking.ts';
import { type LayerRef, resolve } from './resolve/layer-ref.ts';
import { Refusal } from './resolve/refusal.ts';
import { removePlans } from './resolve/plan-ahead.ts';
import { RootDirectory } from './root-directory.ts';
import { removeAttached, type StaleMount, staleMounts, takeAway, takeOut } from './stale-mounts.ts';
import { UseHistory } from './uses/use-history.ts';
import { practiseLayer, removeStage, type ServeQuietly } from './warm-up/practice-layer.ts';
import { WorkerPool } from './workers/pool.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/** All lazy layers of a daemon, keyed by `LayerId`: all mounts of one layer share its data. */
export class Layers {
  /** The files on the disk, and what layers did. */
  readonly cache: Cache;
  readonly uses: UseHistory;
  readonly #options: LayersOptions;
  readonly #formats: Formats;
  readonly #root: RootDirectory;
  readonly #fuse: FuseLink;
  readonly #threads: WorkerPool;
  readonly #memory: MemoryBudget;
  readonly #opener: LayerOpener;
  readonly #metrics: LayerMetrics;
  readonly #background: Background | undefined;
  readonly #layers = new OpenLayers((layer) => this.#background?.remove(layer));
  /** The key of the layer at each mount point. */
  readonly #mounts = new Map<string, string>();
  readonly #points: MountPoints;
  /** What was mounted at each mount point when we started. */
  #left: ReadonlyMap<string, StaleMount> = new Map();
  readonly #readers: LeftReaders;
  /** The same for layers that should be mounted: snapshots keep the files of a layer that cannot be mounted now. */
  readonly #named = new Map<string, LayerKey>();
  /** Layers with mounts that were taken out of the tree while they were in use. */
  readonly #busy: (readonly [LayerKey, OpenLayer])[] = [];
  #warmingUp: Promise<void> | undefined;
  #isClosed = false;

  /**
   * Serves the FUSE file system: that of an earlier life if its connection was kept, else a new one. Then removes the
   * mounts of a dead process.
   *
   * @param kept a connection and its descriptor, which are ours from now on
   */
  static async start(options: LayersOptions, kept?: HeldConnection): Promise<Layers> {
    const { root, log, fronts = new Fronts() } = options;
    makeDirectory(root, 0o700);
    const { attached, ahead, pulls, uses } = new RootDirectory(root);
    let connection = kept && (await inheritConnection(attached, kept, log));
    if (connection === undefined) {
      await takeAway(root, attached, fronts.types, log);
      connection = await openConnection();
    }
    const layers = new Layers(options, connection, UseHistory.load(uses, log));
    try {
      await layers.#fuse.helper.ready; // what an earlier helper mounts needs the file system that is served now
      await removeStage(root, layers.#fuse.helper);
      await removePlans(ahead);
      await removePlans(pulls);
      layers.#left = await staleMounts(root, fronts.types);
      void layers.#opener.keepLeftIndexes();
      return layers;
    } catch (error) {
      if (!connection.isInherited) await layers.close(); // else the next life goes on with it
      throw error;
    }
  }

  private constructor(options: LayersOptions, connection: FuseConnection, uses: UseHistory) {
    this.uses = uses;
    this.#options = options;
    this.#formats = options.formats ?? new Formats();
    this.#root = new RootDirectory(options.root);
    this.#fuse = new FuseLink(connection, {
      lockPath: this.#root.helperLock,
      openAgain: (nodeId) => this.#readers.open(nodeId),
      onRenewed: () => this.#renew(),
      metrics: options.metrics?.fuse,
      log: options.log,
    });
    this.#memory = memoryBudget(options.memoryBytes);
    this.#threads = new WorkerPool(this.#memory, options.log, this.#formats, options.fronts);
    this.#metrics = options.metrics?.layers ?? layerMetrics();
    this.#points = new MountPoints({
      helper: this.#fuse.helper,
      directIo: options.directIo ?? false,
      served: async () => {
        this.#root.check();
        await this.#fuse.served();
      },
      ...options,
      metrics: this.#metrics,
    });
    const budget = options.budget ?? new DiskBudget();
    this.#opener = new LayerOpener(options, {
      root: this.#root,
      formats: this.#formats,
      fuse: this.#fuse,
      threads: this.#threads,
      layers: this.#layers,
      budget,
      memory: this.#memory,
      metrics: this.#metrics,
    });
    this.#readers = new LeftReaders(this.#root.layers, this.#opener, this.#layers, options);
    this.#threads.warm();
    this.cache = new Cache({
      root: options.root,
      limits: options.limits ?? defaultCacheLimits,
      threads: this.#threads,
      budget,
      beside: options.beside,
      log: options.log,
      metrics: this.#metrics,
      users: {
        isNeeded: (key) => this.#layers.has(key) || [...this.#named.values()].includes(key),
        whileClosed: (key, action) => this.#layers.whileClosed(key, action),
        verifyOpen: async (key) => (await this.#layers.get(key)?.layer.catch(() => undefined))?.verify(),
      },
    });
    if (options.background !== undefined) {
      this.#background = new Background(options.background.maxBytesPerSecond, () => !budget.isFull);
    }
    this.#metrics.mounted.from(() => this.#layers.mounted.length);
    this.#metrics.incomplete.from(() => this.#layers.mounted.filter((layer) => !layer.complete).length);
    this.#metrics.unpackQueueBytes.from(() => this.#threads.queuedBytes);
    this.#metrics.cacheBytes.from(() => cacheBytes(this.#root.layers));
  }

  /** The layer that a client's labels name, or why they name none. */
  resolve(labels: Labels): LayerRef | Refusal {
    const named = resolve(labels, this.#formats);
    if (named instanceof Refusal) return named;
    const { reference, ...ref } = named;
    return { ...ref, image: this.#options.images(reference, labels) };
  }

  /** Why such a layer is left to its client, whatever its content; undefined if it is not. */
  refusalOf(ref: LayerRef): Refusal | undefined {
    return this.#opener.refusalOf(ref);
  }

  /** Mounts a layer at a directory. Rejects with the reason if it cannot be lazy. */
  mount(mountpoint: string, ref: LayerRef, signal?: AbortSignal): Promise<LayerOrigin> {
    const fill = (layer: Layer): Promise<void> => this.#points.fill(mountpoint, layer);
    return this.#opener.answer(ref, async (fit) => {
      const open = (ending: AbortSignal): Promise<Layer> => this.#opener.open(fit, ending);
      return (await this.#use(fit, mountpoint, open, fill, false, signal)).origin;
    });
  }

  /**
   * Makes a layer of an earlier life readable at `mountpoint` without the network. A correct mount stays; any other is
   * removed and the layer mounted. Rejects with the reason if the layer's files are not complete.
   */
  async restore(mountpoint: string, ref: LayerRef): Promise<void> {
    const restore = async (layer: Layer): Promise<void> => {
      const left = this.#left.get(mountpoint);
      const attached = this.connection.wasAttached ? join(this.#root.attached, layer.name) : undefined;
      const isShown = left !== undefined && (layer.isShownBy(left.source) || left.source === attached);
      if (!isShown) await this.#points.fill(mountpoint, layer);
      else if (left.isBare) await this.#points.cover(mountpoint, layer, left.source);
      else this.#points.adopt(mountpoint, layer, left.source);
    };
    const kept = await this.#opener.kept(ref);
    await this.#use(kept, mountpoint, () => this.#opener.openKept(kept), restore, true);
  }

  /**
   * Takes the FUSE file system out of the directory in which an old version mounted it. Called once the keeper has our
   * descriptors: until then the next life would find it there.
   */
  async leaveDirectory(): Promise<void> {
    await removeAttached(this.#fuse.helper, this.#root.attached);
  }

  /** Opens a layer unless it is open, and makes it readable at a mount point. */
  async #use(
    ref: LayerRef,
    mountpoint: string,
    open: (signal: AbortSignal) => Promise<Layer>,
    mount: (layer: Layer) => Promise<void>,
    isRestored: boolean,
    signal?: AbortSignal,
  ): Promise<Layer> {
    const key = layerKey(ref.id);
    this.#named.set(mountpoint, key);
    const entry = this.#layers.use(key, open);
    try {
      const layer = await (signal === undefined ? entry.layer : unlessAborted(entry.layer, signal));
      await mount(layer);
      this.#mounts.set(mountpoint, key);
      this.#layers.noteMount(entry, layer, ref.image.reference, this.uses, isRestored);
      if (this.#readers.delete(layer.nodeId)) entry.users--;
      if (!layer.complete) this.#background?.add(layer);
      return layer;
    } catch (error) {
      await this.#layers.release(key, entry);
      throw error;
    }
  }

  /** Resolves when the warm-up of the planning thread is over; never if the thread got work before. */
  get warmed(): Promise<void> {
    return this.#threads.warmedUp;
  }

  /** Ends that warm-up, or keeps it from beginning. */
  attend(): void {
    this.#threads.attend();
  }

  /**
   * Serves a synthetic layer once, and pulls one, unless a real one was asked for. Rejects only if `signal` ends it.
   */
  async warmUp({ layer, tar }: Practice, image: ImageAccess, signal: AbortSignal): Promise<void> {
    if (!this.#memory.warmsUp || this.#layers.size > 0 || this.#isClosed) return;
    const { root, log } = this.#options;
    const serve: ServeQuietly = (known, own) => this.#opener.serve(known, image, own);
    const parts = { root, layer, image, threads: this.#threads, helper: this.#fuse.helper, serve, signal };
    const practise = async (): Promise<void> => {
      await practiseLayer(parts);
      try {
        await this.#opener.practisePull(tar, image, signal);
      } finally {
        await removeStage(root, this.#fuse.helper);
      }
    };
    this.#warmingUp = practise().catch((error: unknown) => {
      if (signal.aborted) return;
      log.warn({ error: messageOf(error) }, 'cannot warm up: the first layer takes a little longer');
    });
    await this.#warmingUp;
    signal.throwIfAborted();
  }

  /** Rejects with `Unavailable` unless a layer is mounted at `mountpoint`, if need be again. */
  check(mountpoint: string): Promise<void> {
    return this.#points.check(mountpoint);
  }

  /** The inodes and bytes of the layer's files, and the bytes once it is complete. All 0 if there is none. */
  async usage(mountpoint: string): Promise<{ inodes: number; bytes: number; mostBytes: number }> {
    const key = this.#named.get(mountpoint);
    if (key === undefined) return { inodes: 0, bytes: 0, mostBytes: 0 };
    return layerUsage(this.#opener.directory(layerIdOfKey(key)));
  }

  /** Rejects with the reason unless an overlay on `lower`, nearest first, shows the layer as if it were unpacked. */
  async checkStacking(mountpoint: string, lower: readonly string[]): Promise<void> {
    const stackingAt = async (path: string): Promise<Stacking | undefined> => {
      const layer = await this.#layers.get(this.#mounts.get(path) ?? '')?.layer;
      return layer?.stacking();
    };
    const upper = await stackingAt(mountpoint);
    if (upper !== undefined) await checkStacking(upper, lower, stackingAt);
  }

  /**
   * Unmounts `mountpoint`, and removes that directory: a client that mounts it too late gets an error, not an empty
   * directory. If it is in use, it is taken out of the tree and lives on until it is free.
   */
  async unmount(mountpoint: string): Promise<void> {
    const key = this.#mounts.get(mountpoint);
    this.#mounts.delete(mountpoint);
    this.#named.delete(mountpoint);
    const { result: busy, wasServed } = await this.#points.clear(mountpoint, () =>
      takeOut(this.#fuse.helper, mountpoint, this.#options.log),
    );
    const entry = key === undefined ? undefined : this.#layers.get(key);
    if (key !== undefined && entry !== undefined) {
      if (!busy) await this.#layers.release(key, entry);
      else if (wasServed) this.#busy.push([key, entry]);
    }
    this.cache.check();
  }

  /** The connection that is served now. */
  get connection(): FuseConnection {
    return this.#fuse.connection;
  }

  /** Calls `action` with each connection that replaces a lost one, before anything is mounted on it. */
  onConnection(action: (connection: FuseConnection) => Promise<void>): void {
    this.#fuse.onConnection(action);
  }

  /** Why layers cannot be read; undefined if they can. */
  get problem(): string | undefined {
    return this.#root.problem ?? this.#fuse.problem;
  }

  /** Records what is here for the next life, and leaves everything mounted. The process ends after that. */
  async leave(): Promise<void> {
    this.#isClosed = true;
    this.#points.leave();
    void this.#background?.close();
    await this.cache.close();
    await this.#warmingUp;
    await this.#opener.leave();
    await this.#fuse.stop();
    await this.#layers.sync();
    await this.uses.close();
    await this.#fuse.helper.close();
  }

  /** Unmounts everything. @returns false if a layer is still in use: its missing data reads as EIO */
  async close(): Promise<boolean> {
    this.#isClosed = true;
    this.#points.leave();
    const filling = this.#background?.close();
    await this.cache.close();
    await this.#warmingUp;
    await this.#fuse.stop();
    for (const mountpoint of this.#mounts.keys()) await this.unmount(mountpoint);
    await this.#layers.close();
    await this.uses.close();
    await filling;
    await this.#opener.close();
    const idle = await this.#fuse.close();
    await this.#threads.close();
    return idle;
  }

  /** The state of the mounted layers, in the order of mounting, and of those that are being pulled. */
  async status(): Promise<LayerStatus[]> {
    return [...(await this.#layers.status()), ...this.#opener.pulling().map(statusOfPull)];
  }

  /** The digest of the layer at each mount point. */
  mountPoints(): ReadonlyMap<string, string> {
    return new Map([...this.#mounts].map(([path, key]) => [path, layerIdOfKey(key).digest]));
  }

  /** The disk space of the files of all layers, mounted or not, and the number of layers. */
  cacheSize(): Promise<{ bytes: number; layers: number }> {
    return cacheSize(this.#root.layers);
  }

  /** Mounts everything again: nothing can be read through the previous connection. */
  async #renew(): Promise<void> {
    const gone = this.#readers.clear();
    const busy = this.#busy.splice(0);
    await this.#points.renew();
    for (const [key, entry] of busy) await this.#layers.release(key, entry);
    for (const [key, entry] of this.#layers.entries()) {
      const layer = await entry.layer.catch(() => undefined);
      if (layer !== undefined && gone.has(layer.nodeId)) await this.#layers.release(key, entry);
    }
  }
}

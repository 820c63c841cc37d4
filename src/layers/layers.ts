/**
 * The life of a lazy layer, from the labels of a snapshot to the mount, its readers and its end. It knows registries
 * through blobs, formats through `LayerFormat`, and the kernel through `fuse/` and `fronts/`; it knows no snapshots
 * and no gRPC.
 *
 * Words: an *index* says which files a layer has and where their bytes lie in the blob. A *chunk* is what is fetched
 * and verified as one. The *image* of a layer is the sparse file that the kernel mounts; its *table* lists the
 * chunks, and its *residency* says which are here. A *record* (`layer.json`) says that the files of a layer can be
 * believed. A *miss* is a read of a chunk that is not here, and a *window* what is fetched with it. A *trace* is
 * what an earlier container read. An *idle* layer keeps its table on the disk only.
 *
 * Begin with `Layers`, then `layer.ts`. `resolve/` leads to an index, `fetch/` answers misses, `store/` keeps files,
 * `cache/` makes room, `workers/` and `pull/` work in threads.
 */

import { mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { codeOf, LazypullError, messageOf } from '../errors.ts';
import { unlessAborted } from '../util/unless-aborted.ts';
import { Formats } from '../formats/index.ts';
import type { LayerFormat } from '../formats/layer-format.ts';
import type { PracticeLayer } from '../formats/practice.ts';
import { type FuseConnection, inheritConnection, type KeptConnection, openConnection } from '../fuse/connection.ts';
import type { FuseMetrics } from '../fuse/metrics.ts';
import { directoryIdentity } from '../kernel/directory-identity.ts';
import type { Log } from '../log.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { TableCache } from './table-cache.ts';
import { Background } from './fetch/background.ts';
import {
  isUnindexed,
  type LayerId,
  layerIdOfKey,
  type LayerKey,
  layerKey,
  layerPath,
  unindexed,
} from '../chunks/layer-id.ts';
import { Cache, type KeptBeside } from './cache/cache.ts';
import { cacheBytes, layerUsage } from './cache/cache-bytes.ts';
import { type CacheLimits, defaultCacheLimits } from './cache/cache-limits.ts';
import { FuseLink } from './fuse-link.ts';
import type { Descriptor } from '../images/manifest.ts';
import { Indexer, type KnownLayer } from './resolve/indexer.ts';
import { type IndexSource, noIndexes } from './resolve/index-source.ts';
import { LayerPulls, type PullStatus } from './resolve/layer-pulls.ts';
import { type MadeLayer, pullAll, UnindexedLayers, type UnindexedPolicy } from './resolve/unindexed.ts';
import { type LayerOrigin, ofCache } from './layer-origin.ts';
import { Layer } from './layer.ts';
import { type OwnOfLayer, practiseLayer, removeStage, type ServeQuietly } from './warm-up/practice-layer.ts';
import { checkRecord, findRecord, LayerDirectory, type LayerRecord } from './store/layer-directory.ts';
import type { LayerStatus } from './layer-status.ts';
import { MountPoints } from './mount-points.ts';
import { staleMounts, takeAway } from './stale-mounts.ts';
import { Link } from './fetch/link.ts';
import { type LayerMetrics, layerMetrics } from './metrics.ts';
import { type LayerRef, resolve } from './resolve/layer-ref.ts';
import { TraceStore } from './prefetch/trace.ts';
import { removePlans } from './resolve/plan-ahead.ts';
import { checkStacking, type Stacking } from './plan/stacking.ts';
import { type MemoryBudget, memoryBudget } from './memory-budget.ts';
import { pullLimits } from './pull/pull-limits.ts';
import { LayerPuller } from './pull/puller.ts';
import { WorkerPool } from './workers/pool.ts';
import { UnwrittenChunks } from './store/unwritten-chunks.ts';

/** The images that are remembered of a layer. */
const maxReferences = 8;
/** How long a layer that could not be opened for its readers is left alone. */
const reopenAfterMs = 5_000;

type Labels = Readonly<Record<string, string>>;

/** Opens the layer with this key. `signal` aborts when nobody wants it any more. */
type Open = (key: string, ref: LayerRef, signal: AbortSignal) => Promise<Layer>;

export interface LayersOptions {
  /** Directory of the layers' files and of the FUSE mount; made when it is not there. */
  readonly root: string;
  /** Opens a blob of the repository that the reference names. */
  readonly openBlob: (reference: string, digest: string) => Blob;
  /** Whether data is fetched before it is read: `bytes` of the start of layers whose publisher says nothing, 0 for what programs need to start. */
  readonly prefetch: { readonly bytes: number } | undefined;
  /** Whether layers are completed when nobody waits for data, and how fast; `maxBytesPerSecond` undefined for no limit. */
  readonly background: { readonly maxBytesPerSecond: number | undefined } | undefined;
  /** Whether files of layers can be read past the page cache (O_DIRECT): each layer takes a loop device then. */
  readonly directIo?: boolean;
  /** How much of the disk layers may take, once `cache.start` has been called. */
  readonly limits?: CacheLimits;
  /** What else is under these limits. */
  readonly beside?: KeptBeside | undefined;
  /** The limit on the memory of this process; undefined for none. */
  readonly memoryBytes?: number | undefined;
  /** What is done with layers whose manifest names no index. */
  readonly unindexed?: UnindexedPolicy | undefined;
  /** Where their indexes are. */
  readonly indexes?: IndexSource | undefined;
  /** The layers of an image, as its manifest for this machine has them. */
  readonly layersOf?: ((reference: string, signal: AbortSignal) => Promise<readonly Descriptor[]>) | undefined;
  /** Which layers can be read. Undefined for what is built in. */
  readonly formats?: Formats | undefined;
  readonly log: Log;
  readonly metrics?: { readonly layers: LayerMetrics; readonly fuse: FuseMetrics };
}

interface Entry {
  readonly layer: Promise<Layer>;
  /** Ends the opening. */
  readonly abort: AbortController;
  /** The same once it is mounted, and since when in milliseconds since 1970. */
  mounted?: Layer;
  mountedMs?: number;
  readonly references: Set<string>;
  /** Mounts, and calls that are about to mount. */
  users: number;
}

/** Where versions mounted the FUSE file system that did so in a directory. */
function attachedAt(root: string): string {
  return join(root, 'fuse');
}

/** Where layers are planned before they are asked for. */
function aheadPath(root: string): string {
  return join(root, 'ahead');
}

function statusOfPull({ reference, startedMs, doneBytes, totalBytes, ...pull }: PullStatus): LayerStatus {
  const bytes = { blobBytes: totalBytes, contentBytes: totalBytes, presentBytes: doneBytes, fetchedBytes: doneBytes };
  return { ...pull, ...bytes, references: [reference], mountedMs: startedMs, mounts: 0, errors: 0, pulling: true };
}

/** Where layers are while they are pulled. */
function pullsPath(root: string): string {
  return join(root, 'pulls');
}

/** All lazy layers of a daemon, keyed by `LayerId`: every mount of one layer shares its data. */
export class Layers {
  /** What is kept on the disk. */
  readonly cache: Cache;
  readonly #options: LayersOptions;
  readonly #formats: Formats;
  readonly #rootIdentity: string;
  readonly #fuse: FuseLink;
  readonly #threads: WorkerPool;
  readonly #memory: MemoryBudget;
  readonly #link = new Link();
  readonly #unwritten = new UnwrittenChunks();
  readonly #awake: TableCache;
  readonly #traces: TraceStore;
  readonly #indexer: Indexer;
  readonly #puller: LayerPuller;
  readonly #pulls: LayerPulls;
  readonly #unindexed: UnindexedLayers;
  readonly #metrics: LayerMetrics;
  readonly #background: Background | undefined;
  readonly #entries = new Map<string, Entry>();
  /** Layers that are being closed, or whose files are being removed or verified: who opens one again waits. */
  readonly #closing = new Map<string, Promise<void>>();
  /** The key of the layer at each mount point. */
  readonly #mounts = new Map<string, string>();
  readonly #points: MountPoints;
  /** The image that was mounted at each mount point when we started. */
  #left: ReadonlyMap<string, string> = new Map();
  /** Layers of an earlier life that something reads and no mount of ours has opened. */
  readonly #readers = new Map<number, Promise<void>>();
  /** The same for those that should be mounted: snapshots that name a layer which cannot be mounted now keep its files. */
  readonly #named = new Map<string, LayerKey>();
  /** Layers with mounts that were taken out of the tree while something used them. */
  #busy: (readonly [LayerKey, Entry])[] = [];
  #rehearsing: Promise<void> | undefined;
  #isClosed = false;

  /**
   * Serves the FUSE file system: that of an earlier life where its connection is kept, else a new one. Then what a dead process left mounted is taken away.
   *
   * @param kept a connection and its descriptor, which from now on are ours
   */
  static async start(options: LayersOptions, kept?: KeptConnection): Promise<Layers> {
    const { root, log } = options;
    await mkdir(root, { recursive: true, mode: 0o700 });
    let connection = kept && (await inheritConnection(attachedAt(root), kept, log));
    if (connection === undefined) {
      await takeAway(root, attachedAt(root), log);
      connection = await openConnection();
    }
    const layers = new Layers(options, connection);
    try {
      await layers.#fuse.helper.ready; // what an earlier one mounts needs the file system that is served now
      await removeStage(root, layers.#fuse.helper);
      await removePlans(aheadPath(root));
      await removePlans(pullsPath(root));
      layers.#left = await staleMounts(root);
      return layers;
    } catch (error) {
      if (!connection.isInherited) await layers.close(); // else the next one goes on with it
      throw error;
    }
  }

  private constructor(options: LayersOptions, connection: FuseConnection) {
    this.#options = options;
    this.#formats = options.formats ?? new Formats();
    this.#rootIdentity = directoryIdentity(options.root);
    this.#fuse = new FuseLink(connection, {
      lockPath: join(options.root, 'helper.lock'),
      openAgain: (nodeId) => this.#openAgain(nodeId),
      onRenewed: () => this.#renew(),
      metrics: options.metrics?.fuse,
      log: options.log,
    });
    this.#memory = memoryBudget(options.memoryBytes);
    this.#awake = new TableCache(this.#memory.tableBytes);
    this.#threads = new WorkerPool(this.#memory, options.log, this.#formats);
    this.#metrics = options.metrics?.layers ?? layerMetrics();
    this.#points = new MountPoints({
      helper: this.#fuse.helper,
      directIo: options.directIo ?? false,
      served: () => this.#served(),
      metrics: this.#metrics,
      log: options.log,
    });
    this.#traces = new TraceStore(options.root);
    this.#indexer = new Indexer({
      openBlob: options.openBlob,
      threads: this.#threads,
      traces: this.#traces,
      prefetchBytes: () => (this.cache.isFull ? undefined : options.prefetch?.bytes),
      directory: join(options.root, 'layers'),
      aheadDirectory: aheadPath(options.root),
      serve: (layer) => this.#serve(layer),
      memory: this.#memory,
      metrics: this.#metrics,
      log: options.log,
    });
    this.#puller = new LayerPuller({
      limits: pullLimits(this.#memory),
      makeRoom: (bytes) => this.cache.makeRoom(bytes),
      log: options.log,
    });
    this.#pulls = new LayerPulls({
      puller: this.#puller,
      openBlob: options.openBlob,
      silent: this.#indexer.silent,
      metrics: this.#metrics,
      path: pullsPath(options.root),
      keep: (digest, path) => this.#keepPulled(digest, path),
      log: options.log,
    });
    this.#unindexed = new UnindexedLayers({
      policy: options.unindexed ?? pullAll,
      openBlob: options.openBlob,
      layersOf: options.layersOf ?? (() => Promise.resolve([])),
      indexes: options.indexes ?? noIndexes,
      pulls: this.#pulls,
      plan: (request) => this.#threads.plan(request, () => true),
      isKept: async (digest) => (await this.#directory(unindexed(digest)).record()) !== undefined,
      traces: this.#traces,
      log: options.log,
    });
    this.#threads.warm();
    this.cache = new Cache({
      root: options.root,
      limits: options.limits ?? defaultCacheLimits,
      threads: this.#threads,
      beside: options.beside,
      log: options.log,
      metrics: this.#metrics,
      users: {
        isNeeded: (key) => this.#entries.has(key) || [...this.#named.values()].includes(key),
        whileClosed: (key, action) => this.#whileClosed(key, action),
        verifyOpen: async (key) => (await this.#entries.get(key)?.layer.catch(() => undefined))?.verify(),
      },
    });
    if (options.background !== undefined) {
      this.#background = new Background(options.background.maxBytesPerSecond, () => !this.cache.isFull);
    }
    this.#metrics.mounted.from(() => this.#mounted.length);
    this.#metrics.incomplete.from(() => this.#mounted.filter((layer) => !layer.complete).length);
    this.#metrics.unpackQueueBytes.from(() => this.#threads.queuedBytes);
    this.#metrics.cacheBytes.from(() => cacheBytes(join(options.root, 'layers')));
  }

  /** Throws the reason where a client's labels alone say that the layer cannot be lazy. */
  checkLabels(labels: Labels): void {
    if (isUnindexed(resolve(labels, this.#formats).id)) this.#unindexed.check();
  }

  /** Mounts the layer that a client's labels name at a directory, as `MountHelper.fill` does. Rejects with the reason when it cannot be lazy. */
  async mount(mountpoint: string, labels: Labels, signal?: AbortSignal): Promise<LayerOrigin> {
    const ref = resolve(labels, this.#formats);
    const leave = isUnindexed(ref.id) ? this.#unindexed.attend(ref) : undefined;
    let isDone = false;
    try {
      const fill = (layer: Layer): Promise<void> => this.#points.fill(mountpoint, layer);
      const layer = await this.#use(ref, mountpoint, this.#openLayer, fill, signal);
      isDone = true;
      return layer.origin;
    } finally {
      leave?.(isDone);
    }
  }

  /**
   * Makes a layer of an earlier life readable at `mountpoint` without the network. The mount that is there stays when it is one of the layer; anything
   * else is taken away and the layer mounted. Rejects with the reason when the layer's files are not all there.
   */
  async restore(mountpoint: string, labels: Labels): Promise<void> {
    const ref = resolve(labels, this.#formats);
    const restore = async (layer: Layer): Promise<void> => {
      const left = this.#left.get(mountpoint);
      const isShown = left !== undefined && (layer.isShownBy(left) || left === this.#attachedPath(layer));
      if (isShown) this.#points.adopt(mountpoint, layer, left);
      else await this.#points.fill(mountpoint, layer);
    };
    await this.#use(ref, mountpoint, this.#openKept, restore);
  }

  /**
   * Takes the FUSE file system out of the directory in which a version mounted it that we go on for. Called once the keeper has what we have of it: until then
   * the next life would find it there.
   */
  async leaveDirectory(): Promise<void> {
    const directory = attachedAt(this.#options.root);
    while (await this.#fuse.helper.detach(directory));
    await rmdir(directory).catch(() => undefined);
  }

  /** What a mount of a layer has as its source that a version made which mounted our connection in a directory. */
  #attachedPath(layer: Layer): string | undefined {
    return this.connection.wasAttached ? join(attachedAt(this.#options.root), layer.name) : undefined;
  }

  /** Opens a layer unless it is open, and makes it readable at a mount point. */
  async #use(
    ref: LayerRef,
    mountpoint: string,
    open: Open,
    mount: (layer: Layer) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<Layer> {
    const key = layerKey(ref.id);
    this.#named.set(mountpoint, key);
    const entry = this.#entry(key, ref, open);
    entry.users++;
    try {
      const layer = await (signal === undefined ? entry.layer : unlessAborted(entry.layer, signal));
      await mount(layer);
      this.#mounts.set(mountpoint, key);
      entry.mounted = layer;
      entry.mountedMs ??= Date.now();
      if (entry.references.size < maxReferences) entry.references.add(ref.reference);
      if (this.#readers.delete(layer.nodeId)) entry.users--;
      if (!layer.complete) this.#background?.add(layer);
      return layer;
    } catch (error) {
      await this.#release(key, entry);
      throw error;
    }
  }

  /** Resolves when the rehearsal of the thread that plans is over; never where it got work before. */
  get warmed(): Promise<void> {
    return this.#threads.rehearsed;
  }

  /** Ends that rehearsal, or keeps it from beginning. */
  attend(): void {
    this.#threads.attend();
  }

  /** Serves a made-up layer once, as `practiseLayer` does, unless a real one has been asked for. Rejects only when `signal` ends it. */
  async rehearse(layer: PracticeLayer, openBlob: () => Blob, signal: AbortSignal): Promise<void> {
    if (!this.#memory.isRehearsed) return;
    if (this.#entries.size > 0 || this.#isClosed) return;
    const { root, log } = this.#options;
    const serve: ServeQuietly = (known, own) => this.#serve(known, own);
    const parts = { root, layer, openBlob, threads: this.#threads, helper: this.#fuse.helper, serve, signal };
    this.#rehearsing = practiseLayer(parts).catch((error: unknown) => {
      if (signal.aborted) return;
      log.warn({ error: messageOf(error) }, 'cannot rehearse: the first layer takes a little longer');
    });
    await this.#rehearsing;
    signal.throwIfAborted();
  }

  /** Rejects with `Unavailable` unless a layer is mounted at `mountpoint`: what somebody has unmounted is mounted again. */
  check(mountpoint: string): Promise<void> {
    return this.#points.check(mountpoint);
  }

  /** The inodes and bytes that the files of the layer at `mountpoint` take of the disk, and the bytes once it is complete. All 0 where nobody asked for one there. */
  async usage(mountpoint: string): Promise<{ inodes: number; bytes: number; mostBytes: number }> {
    const key = this.#named.get(mountpoint);
    if (key === undefined) return { inodes: 0, bytes: 0, mostBytes: 0 };
    return layerUsage(this.#directory(layerIdOfKey(key)));
  }

  /** Rejects with the reason unless the layer at `mountpoint` looks on top of the `lower` ones, nearest first, as it would unpacked there. */
  async checkStacking(mountpoint: string, lower: readonly string[]): Promise<void> {
    const stackingAt = async (path: string): Promise<Stacking | undefined> => {
      const layer = await this.#entries.get(this.#mounts.get(path) ?? '')?.layer;
      return layer?.stacking();
    };
    const upper = await stackingAt(mountpoint);
    if (upper !== undefined) await checkStacking(upper, lower, stackingAt);
  }

  /**
   * Unmounts what is at `mountpoint`, and removes that directory: a client that was told of it and mounts it late gets an error, where it would find an empty
   * directory in place of the layer. What something still uses is taken out of the tree and lives on until it is free.
   */
  async unmount(mountpoint: string): Promise<void> {
    const key = this.#mounts.get(mountpoint);
    this.#mounts.delete(mountpoint);
    this.#named.delete(mountpoint);
    const { result: busy, wasServed } = await this.#points.clear(mountpoint, () => this.#takeAway(mountpoint));
    const entry = key === undefined ? undefined : this.#entries.get(key);
    if (key !== undefined && entry !== undefined) {
      if (!busy) await this.#release(key, entry);
      else if (wasServed) this.#busy.push([key, entry]);
    }
    this.cache.check();
  }

  /** @returns whether something still uses it */
  async #takeAway(mountpoint: string): Promise<boolean> {
    try {
      await this.#fuse.helper.unmountAll(mountpoint);
      return false;
    } catch (error) {
      this.#options.log.warn({ mountpoint, error: messageOf(error) }, 'a layer is in use and is unmounted lazily');
      await this.#fuse.helper.detachAll(mountpoint);
      return true;
    }
  }

  /** The connection that is served now. */
  get connection(): FuseConnection {
    return this.#fuse.connection;
  }

  /** Has `action` called with each connection that takes the place of one that was lost, before anything is mounted on it. */
  onConnection(action: (connection: FuseConnection) => Promise<void>): void {
    this.#fuse.onConnection(action);
  }

  /** Why layers cannot be read; undefined where they can. */
  get problem(): string | undefined {
    return this.#rootProblem ?? this.#fuse.problem;
  }

  /** What is at the path of the root is another directory when somebody has unmounted it: nothing may be looked for, or made, there. */
  get #rootProblem(): string | undefined {
    const { root } = this.#options;
    try {
      if (directoryIdentity(root) === this.#rootIdentity) return undefined;
    } catch {
      // There is none.
    }
    return `"${root}" is not the directory that it was when lazypull started: mount it again, or start lazypull again`;
  }

  async #served(): Promise<void> {
    const problem = this.#rootProblem;
    if (problem !== undefined) throw new LazypullError('Unavailable', problem);
    await this.#fuse.served();
  }

  /** Writes down what is here, for the next life, and leaves everything mounted. The process ends after that. */
  async leave(): Promise<void> {
    this.#isClosed = true;
    this.#points.leave();
    void this.#background?.close();
    await this.cache.close();
    await this.#rehearsing;
    this.#unindexed.close();
    await this.#pulls.close();
    await this.#puller[Symbol.asyncDispose]();
    await this.#fuse.stop();
    for (const entry of this.#entries.values()) await (await entry.layer.catch(() => undefined))?.sync();
    await this.#fuse.helper.close();
  }

  /** Unmounts everything and ends all threads. @returns false when something still uses a layer, which then reads EIO where data is missing */
  async close(): Promise<boolean> {
    this.#isClosed = true;
    this.#points.leave();
    const filling = this.#background?.close();
    await this.cache.close();
    await this.#rehearsing;
    await this.#fuse.stop();
    for (const mountpoint of this.#mounts.keys()) await this.unmount(mountpoint);
    for (const entry of this.#entries.values()) {
      const layer = await entry.layer.catch(() => undefined);
      await layer?.close();
    }
    this.#entries.clear();
    await Promise.all(this.#closing.values());
    await filling;
    this.#unindexed.close();
    await this.#pulls.close();
    await this.#puller[Symbol.asyncDispose]();
    await this.#indexer.close();
    this.#awake.close();
    const idle = await this.#fuse.close();
    await this.#threads.close();
    return idle;
  }

  /** What the mounted layers are doing, in the order in which they were mounted, and then those that are pulled. */
  async status(): Promise<LayerStatus[]> {
    const layers: LayerStatus[] = [];
    for (const { mounted, mountedMs = 0, references, users } of this.#entries.values()) {
      if (mounted === undefined) continue;
      layers.push({
        ...(await mounted.status()),
        references: [...references],
        mountedMs,
        mounts: users,
      });
      await setImmediate(); // a layer can have a million chunks
    }
    return [...layers, ...this.#pulls.status().map(statusOfPull)];
  }

  /** The digest of the layer at each mount point. */
  mountPoints(): ReadonlyMap<string, string> {
    return new Map([...this.#mounts].map(([path, key]) => [path, layerIdOfKey(key).digest]));
  }

  /** The disk space that the files of all layers take, mounted or not, and how many there are. */
  async cacheSize(): Promise<{ bytes: number; layers: number }> {
    const directory = join(this.#options.root, 'layers');
    const names = await readdir(directory).catch(() => []);
    return { bytes: await cacheBytes(directory), layers: names.length };
  }

  get #mounted(): Layer[] {
    return [...this.#entries.values()].flatMap(({ mounted }) => mounted ?? []);
  }

  /** Mounts everything anew; nobody can read by a connection of before any more. */
  async #renew(): Promise<void> {
    const gone = new Set(this.#readers.keys());
    this.#readers.clear();
    const busy = this.#busy;
    this.#busy = [];
    await this.#points.renew();
    for (const [key, entry] of busy) await this.#release(key, entry);
    for (const [key, entry] of this.#entries) {
      const layer = await entry.layer.catch(() => undefined);
      if (layer !== undefined && gone.has(layer.nodeId)) await this.#release(key, entry);
    }
  }

  /** Opens the layer that the kernel knows from an earlier life, or from a mount that has been taken out of the tree. */
  #openAgain(nodeId: number): Promise<void> {
    let opening = this.#readers.get(nodeId);
    if (opening === undefined) {
      opening = this.#openForReader(nodeId);
      this.#readers.set(nodeId, opening);
      opening.catch((error: unknown) => {
        this.#options.log.error(
          { node: nodeId, error: messageOf(error) },
          'cannot open a layer that is still read: its readers get EIO',
        );
        setTimeout(() => this.#readers.delete(nodeId), reopenAfterMs).unref();
      });
    }
    return opening;
  }

  async #openForReader(nodeId: number): Promise<void> {
    const record = await findRecord(join(this.#options.root, 'layers'), nodeId);
    if (record === undefined) throw new LazypullError('NotFound', 'Nothing of the layer is on the disk');
    const id = { digest: record.digest, index: record.indexDigest };
    const format = this.#formatOf(record);
    const ref = { id, format, reference: record.reference, siblings: [], prefetchBytes: undefined };
    const entry = this.#entry(layerKey(ref.id), ref, this.#openKept);
    entry.users++;
    try {
      await entry.layer;
    } catch (error) {
      await this.#release(layerKey(ref.id), entry);
      throw error;
    }
  }

  #entry(key: string, ref: LayerRef, open: Open): Entry {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      const abort = new AbortController();
      entry = { layer: open(key, ref, abort.signal), abort, users: 0, references: new Set() };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  async #release(key: string, entry: Entry): Promise<void> {
    entry.users--;
    if (entry.users > 0 || this.#entries.get(key) !== entry) return;
    this.#entries.delete(key);
    entry.abort.abort(new LazypullError('Canceled', 'Nobody waits for the layer any more'));
    const closing = entry.layer
      .then((layer) => {
        this.#background?.remove(layer);
        return layer.close();
      })
      .catch(() => undefined) // it never opened: its users were told
      .then(() => {
        this.#closing.delete(key);
      });
    this.#closing.set(key, closing);
    await closing;
  }

  async #whileClosed<T>(key: LayerKey, action: () => Promise<T>): Promise<T | undefined> {
    await this.#closing.get(key);
    if (this.#entries.has(key) || this.#closing.has(key)) return undefined;
    const done = action();
    const over = done.then(
      () => void this.#closing.delete(key),
      () => void this.#closing.delete(key),
    );
    this.#closing.set(key, over);
    return done;
  }

  /** Opens a layer from the disk, or makes it anew from the registry. */
  readonly #openLayer: Open = async (key, ref, signal) => {
    try {
      return await this.#openKept(key, ref, signal);
    } catch (error) {
      if (codeOf(error) !== 'NotFound') {
        this.#options.log.warn(
          { layer: ref.id.digest, error: messageOf(error) },
          'the cache of a layer is of no use and is made anew',
        );
      }
    }
    const directory = this.#directory(ref.id);
    await directory.remove();
    await mkdir(directory.path, { recursive: true, mode: 0o700 });
    try {
      if (!isUnindexed(ref.id)) return await this.#indexer.index(ref, directory);
      return await this.#openMade(await this.#unindexed.make(ref, directory, signal), ref);
    } catch (error) {
      this.cache.check(); // the disk may be full
      await directory.remove();
      throw error;
    }
  };

  /** Opens a layer from the disk. NotFound where it was never indexed; another error where its files are of no use. */
  readonly #openKept: Open = async (key, ref) => {
    await this.#closing.get(key);
    const directory = this.#directory(ref.id);
    const record = await directory.record();
    if (record === undefined) throw new LazypullError('NotFound', 'Nothing of the layer is on the disk');
    checkRecord(record, ref.id);
    const blob = this.#options.openBlob(ref.reference, ref.id.digest);
    const residency = await directory.resident(record);
    const format = this.#formatOf(record);
    const table = residency.isOfThisBoot ? undefined : await directory.table(record);
    const codecData = table && (await directory.codecData(record));
    await directory.checkDisk(record, !residency.isOfThisBoot);
    return this.#serve({
      record,
      directory,
      format,
      table,
      codecData,
      ...residency,
      blob,
      traces: this.#traces,
      origin: ofCache,
    });
  };

  /** Opens a layer that has just been made of an unindexed one: what was read of it the last time is asked for at once. */
  async #openMade(made: MadeLayer, ref: LayerRef): Promise<Layer> {
    const layer = await this.#serve(made);
    const bytes = this.cache.isFull ? undefined : this.#options.prefetch?.bytes;
    if (bytes !== undefined && !layer.complete) {
      const trace = await this.#traces.load(made.record.digest).catch(() => undefined); // a guess, and no reason to fail
      await layer.prefetch(trace, ref.prefetchBytes ?? bytes, made.record.blobBytes);
    }
    layer.recordTrace();
    layer.keep();
    return layer;
  }

  /** Takes a layer into the cache that was pulled for an image whose client has not asked for it. */
  async #keepPulled(digest: string, path: string): Promise<void> {
    const id = unindexed(digest);
    const directory = this.#directory(id);
    await this.#whileClosed(layerKey(id), async () => {
      if ((await directory.record()) !== undefined) return;
      const pulled = new LayerDirectory(path);
      const record = await pulled.record();
      if (record === undefined) return;
      await pulled.settle(record);
      await directory.remove();
      await mkdir(dirname(directory.path), { recursive: true, mode: 0o700 });
      await rename(path, directory.path);
    });
    this.cache.check();
  }

  /** @throws Unimplemented for a format of another version of this program */
  #formatOf({ format: name }: LayerRecord): LayerFormat {
    const format = this.#formats.named(name);
    if (format !== undefined) return format;
    throw new LazypullError('Unimplemented', `Layers of the format "${name}" are not known to this version`);
  }

  #directory(id: LayerId): LayerDirectory {
    return new LayerDirectory(join(this.#options.root, 'layers', layerPath(id)));
  }

  #serve(layer: KnownLayer, own?: OwnOfLayer): Promise<Layer> {
    const { digest, reference } = layer.record;
    return Layer.open({
      ...layer,
      fetchIndex: (start, end, signal) => this.#unindexed.readIndex(digest, reference, { start, end }, signal),
      onWrong: isUnindexed({ digest, index: layer.record.indexDigest })
        ? (reason) => void this.#unindexed.refuse(digest, reference, reason)
        : undefined,
      fuse: this.#fuse.server,
      threads: this.#threads,
      link: this.#link,
      unwritten: this.#unwritten,
      awake: this.#awake,
      onGrowth: () => this.cache.check(),
      metrics: this.#metrics,
      log: this.#options.log,
      ...own,
    });
  }
}

import { lstat, readdir, rmdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isSha256Hex } from '../../chunks/digest.ts';
import {
  type LayerId,
  layerIdOfKey,
  layerIdOfPath,
  type LayerKey,
  layerKey,
  layerPath,
} from '../../chunks/layer-id.ts';
import { LazypullError, messageOf, spaceHint } from '../../errors.ts';
import type { Log } from '../../log.ts';
import type {
  CacheAccess,
  CachedLayer,
  CacheNeighbour,
  ListedLayer,
  PruneOptions,
  Verified,
  VerifiedLayer,
} from './cache-access.ts';
import { type CacheLimits, type CacheSpace, excessBytes, excessFiles, isFull, spaceOf } from './cache-limits.ts';
import { DiskBudget } from './disk-budget.ts';
import { checkRecord, LayerDirectory } from '../store/layer-directory.ts';
import { countBytes, residency } from '../../chunks/residency.ts';
import type { LayerMetrics } from '../metrics.ts';
import type { WorkerPool } from '../workers/pool.ts';
import { chunkRuns } from '../../chunks/chunk-range.ts';
import { sinceMs } from '../../util/since.ts';

/** How long after a change sizes are looked at, and how much longer for each millisecond of the last look. */
const pauseMs = 2_000;
const restFactor = 20;

/** How long what was found is good enough to say that there is room. */
const foundMs = 10_000;

/** Bytes on the disk that are verified at a time. */
const verifyBytes = 8 << 20;

/** How often, and after how long, a layer is tried again that was just opened or closed. */
const maxVerifyTries = 20;
const verifyAgainMs = 50;

/** The unit of `blocks` in stat(2), in bytes. */
const blockBytes = 512;

/** Knows which layers are in use. While `whileClosed` runs, no other code uses the files of a closed layer. */
export interface CacheUsers {
  /** Whether a layer is mounted, is about to be, or is named by a snapshot: then its files are not removed. */
  isNeeded(key: LayerKey): boolean;
  /** Runs an action while the layer cannot be opened. @returns undefined, without running it, if the layer is open */
  whileClosed<T>(key: LayerKey, action: () => Promise<T>): Promise<T | undefined>;
  /** Verifies an open layer. @returns undefined if it is not open */
  verifyOpen(key: LayerKey): Promise<Verified | undefined>;
}

export interface CacheOptions {
  /** The daemon's root. */
  readonly root: string;
  /** Undefined if nothing is removed without being asked. */
  readonly limits: CacheLimits | undefined;
  /** The budget that code asks before it writes to the disk. */
  readonly budget?: DiskBudget | undefined;
  readonly users: CacheUsers;
  readonly threads: WorkerPool;
  readonly beside?: CacheNeighbour | undefined;
  readonly log: Log;
  readonly metrics?: LayerMetrics;
}

/** Something that can be removed to make space. */
interface Removable {
  readonly bytes: number;
  readonly files?: number;
  readonly lastUsedMs: number;
  remove(): Promise<boolean>;
}

interface Kept extends CachedLayer {
  readonly key: LayerKey;
  readonly directory: LayerDirectory;
  readonly files: number;
  /** Without a record it is useless. */
  readonly isWhole: boolean;
}

/**
 * The files of all layers. Unused files are kept, up to a limit. Beyond it the longest unused layers are removed, but
 * never one that is mounted or that a snapshot names. It looks only at the files' sizes and never into mounts.
 */
export class Cache implements CacheAccess {
  readonly #options: CacheOptions;
  readonly #path: string;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<unknown> = Promise.resolve();
  #lookMs = 0;
  /** What all took when it was last looked at, and when that was. */
  #found: { readonly used: number; readonly atMs: number } | undefined;
  /** Bytes for which room was found since. */
  #promised = 0;
  #isStarted = false;
  #isClosed = false;
  readonly #budget: DiskBudget;
  readonly #setFull: (isFull: boolean) => void;

  constructor(options: CacheOptions) {
    this.#options = options;
    this.#budget = options.budget ?? new DiskBudget();
    this.#setFull = this.#budget.keptBy(this);
    this.#path = join(options.root, 'layers');
    options.metrics?.cacheFull.from(() => (this.isFull ? 1 : 0));
  }

  /** Whether layers that cannot be removed fill the cache: then only what is read should be fetched. */
  get isFull(): boolean {
    return this.#budget.isFull;
  }

  /** Enforces the limits from now on: all layers in use are known. */
  start(): void {
    this.#isStarted = true;
    this.check();
  }

  /** Checks the limits soon: something has grown, or is not needed any more. */
  check(): void {
    if (!this.#isStarted || this.#isClosed) return;
    this.#timer ??= setTimeout(
      () => {
        void this.trim().catch((error: unknown) => {
          this.#options.log.warn({ error: messageOf(error) }, 'cannot check the space that layers take');
        });
      },
      Math.max(pauseMs, this.#lookMs * restFactor),
    ).unref();
  }

  /** Makes room for so many bytes. Rejects with ResourceExhausted if layers in use leave too little. */
  async makeRoom(bytes: number): Promise<void> {
    if (!this.#isStarted || (await this.#hasRoom(bytes)) || !(await this.trim(bytes))) return;
    throw new LazypullError('ResourceExhausted', `There is no space on the disk for about ${bytes} bytes of a layer`, {
      hint: spaceHint,
    });
  }

  /** Whether there is room by what was found not long ago: to look at all layers for each one takes too long. */
  async #hasRoom(bytes: number): Promise<boolean> {
    const { limits } = this.#options;
    const found = this.#found;
    if (limits === undefined) return true;
    if (found === undefined || performance.now() - found.atMs > foundMs) return false;
    if (isFull(limits, await this.#space(found.used, this.#promised + bytes))) return false;
    this.#promised += bytes;
    return true;
  }

  /**
   * Removes layers beyond the limit, and incomplete ones.
   *
   * @param coming bytes that are going to be written
   * @returns whether there are still too many
   */
  async trim(coming = 0): Promise<boolean> {
    const { limits } = this.#options;
    if (limits === undefined) return false;
    return this.#alone(async () => {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      const started = performance.now();
      const layers = await this.#scan();
      const beside = (await this.#options.beside?.list()) ?? [];
      this.#lookMs = performance.now() - started;
      for (const layer of layers) if (!layer.isWhole) await this.#remove(layer);
      const space = await this.#space(sum(layers) + sum(beside), coming);
      const [bytes, files] = [excessBytes(limits, space), excessFiles(space)];
      const whole = layers.filter(({ isWhole }) => isWhole);
      const removables: Removable[] = [...beside, ...whole.map((layer) => this.#removable(layer))];
      const removed = { bytes: 0, files: 0 };
      for (const each of removables.toSorted((a, b) => a.lastUsedMs - b.lastUsedMs)) {
        if ((removed.bytes >= bytes && removed.files >= files) || this.#isClosed) break;
        if (!(await each.remove())) continue;
        removed.bytes += each.bytes;
        removed.files += each.files ?? 0;
      }
      const left = {
        ...space,
        used: space.used - removed.bytes,
        free: space.free + removed.bytes,
        freeFiles: space.freeFiles + removed.files,
      };
      this.#found = { used: left.used - coming, atMs: performance.now() };
      this.#promised = coming;
      if (coming === 0) this.#note(isFull(limits, left), left);
      return isFull(limits, left);
    });
  }

  async *list(): AsyncGenerator<ListedLayer> {
    for (const layer of await this.#scan()) {
      if (layer.isWhole) yield { ...publicPart(layer), ...(await contentOf(layer.directory)) };
    }
  }

  async *prune({ unusedMs, keepBytes }: PruneOptions): AsyncGenerator<CachedLayer> {
    const layers = await this.#scan();
    const beside = (await this.#options.beside?.list()) ?? [];
    let left = sum(layers) + sum(beside);
    for (const each of beside.toSorted((a, b) => a.lastUsedMs - b.lastUsedMs)) {
      if (left <= keepBytes || sinceMs(each.lastUsedMs) < unusedMs) continue;
      if (await each.remove()) left -= each.bytes;
    }
    for (const layer of layers) {
      if (layer.isWhole && (left <= keepBytes || sinceMs(layer.lastUsedMs) < unusedMs)) continue;
      if (!(await this.#remove(layer))) continue;
      left -= layer.bytes;
      yield publicPart(layer);
    }
  }

  /** As in `CacheAccess`. Removes layers whose files cannot be read, and skips ones removed meanwhile. */
  async *verify(): AsyncGenerator<VerifiedLayer> {
    for (const layer of await this.#scan()) {
      if (!layer.isWhole || this.#isClosed) continue;
      const found = await this.#verifyLayer(layer);
      if (found !== 'gone') yield { layer: publicPart(layer), found };
    }
  }

  async #verifyLayer(layer: Kept): Promise<Verified | 'gone' | undefined> {
    const { users } = this.#options;
    for (let tries = 1; ; tries++) {
      const closed = await users.whileClosed(layer.key, async () =>
        (await layer.directory.record()) === undefined ? 'gone' : { found: await this.#verifyFiles(layer) },
      );
      if (closed !== undefined) return closed === 'gone' ? closed : closed.found;
      const found = await users.verifyOpen(layer.key);
      if (found !== undefined || tries === maxVerifyTries) return found;
      await sleep(verifyAgainMs); // it was just opened or closed
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#working;
  }

  /** What there is once `coming` more bytes are written, if `used` are now. */
  async #space(used: number, coming: number): Promise<CacheSpace> {
    return spaceOf(await statfs(this.#options.root), used, coming);
  }

  /** Runs one action after the other. */
  #alone<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#working.then(action);
    this.#working = result.catch(() => undefined);
    return result;
  }

  /** The longest unused first. */
  async #scan(): Promise<Kept[]> {
    const layers: Kept[] = [];
    for (const digest of await names(this.#path)) {
      for (const index of await names(join(this.#path, digest))) {
        const layer = await this.#look(layerIdOfPath(digest, index));
        if (layer !== undefined) layers.push(layer);
      }
    }
    return layers.toSorted((a, b) => a.lastUsedMs - b.lastUsedMs);
  }

  async #look(id: LayerId): Promise<Kept | undefined> {
    const key = layerKey(id);
    const directory = new LayerDirectory(join(this.#path, layerPath(id)));
    try {
      const { mtimeMs, blocks } = await lstat(directory.path);
      let bytes = blocks * blockBytes;
      const inside = await readdir(directory.path);
      for (const name of inside) {
        bytes += ((await lstat(join(directory.path, name)).catch(() => undefined))?.blocks ?? 0) * blockBytes;
      }
      return {
        key,
        directory,
        files: inside.length + 1,
        digest: id.digest,
        tocDigest: id.index,
        bytes,
        lastUsedMs: mtimeMs,
        inUse: this.#options.users.isNeeded(key),
        isWhole: (await directory.record()) !== undefined,
      };
    } catch {
      return undefined; // it vanished meanwhile
    }
  }

  #removable(layer: Kept): Removable {
    const { log, metrics } = this.#options;
    const { digest, bytes, files, lastUsedMs } = layer;
    const remove = async (): Promise<boolean> => {
      if (!(await this.#remove(layer))) return false;
      metrics?.removed.add(1);
      const lastUsed = new Date(lastUsedMs).toISOString();
      log.info({ layer: digest, bytes, lastUsed }, 'removed a layer that was not used for the longest time');
      return true;
    };
    return { bytes, files, lastUsedMs, remove };
  }

  /** @returns false if the layer is needed */
  async #remove({ key, directory }: Kept): Promise<boolean> {
    const { users } = this.#options;
    const removed = await users.whileClosed(key, async () => {
      if (users.isNeeded(key)) return false;
      await directory.remove();
      await rmdir(join(directory.path, '..')).catch(() => undefined); // another layer may have the same digest
      return true;
    });
    return removed === true;
  }

  async #verifyFiles({ directory, key }: Kept): Promise<Verified | undefined> {
    const { threads, users, log } = this.#options;
    const id = layerIdOfKey(key);
    try {
      const record = await directory.record();
      if (record === undefined) return undefined;
      checkRecord(record, id);
      const table = await directory.table(record);
      const { resident } = await directory.resident(record);
      const parts = resident.reduce((count, state) => count + (state === residency.absent ? 0 : 1), 0);
      const target = threads.add({ diskPath: directory.diskPath, format: record.format, table, resident });
      try {
        let damaged = 0;
        for (const run of chunkRuns(table.size, verifyBytes)) {
          damaged += (await threads.verify(target, run, () => false)).filter(({ code }) => code === 'DataLoss').length;
        }
        this.#options.metrics?.damaged.add(damaged);
        if (damaged > 0) await directory.writeResident(record, resident);
        return { parts, damaged };
      } finally {
        threads.remove(target);
      }
    } catch (error) {
      log.warn(
        { layer: id.digest, error: messageOf(error) },
        'cannot use what is kept of a layer: it is fetched again',
      );
      if (!users.isNeeded(key)) await directory.remove();
      return undefined;
    }
  }

  #note(isFullNow: boolean, { used, free, freeFiles }: CacheSpace): void {
    if (isFullNow === this.isFull) return;
    this.#setFull(isFullNow);
    const { log } = this.#options;
    const files = Number.isFinite(freeFiles) ? { freeFiles } : {};
    if (isFullNow)
      log.warn(
        { used, free, ...files },
        'the layers in use take all the space that layers may have: nothing is prefetched',
      );
    else log.info({ used, free, ...files }, 'there is space for layers again');
  }
}

/** How much of a layer is here; nothing if its files cannot be read. */
async function contentOf(directory: LayerDirectory): Promise<{ contentBytes: number; presentBytes: number }> {
  try {
    const record = (await directory.record())!;
    const { size } = await directory.table(record);
    return countBytes(size, (await directory.resident(record)).resident);
  } catch {
    return { contentBytes: 0, presentBytes: 0 }; // its next use will find the damage
  }
}

function publicPart({ digest, tocDigest, bytes, lastUsedMs, inUse }: Kept): CachedLayer {
  return { digest, tocDigest, bytes, lastUsedMs, inUse };
}

function sum(sized: readonly { readonly bytes: number }[]): number {
  return sized.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** The names in a directory that are hex digests. */
async function names(path: string): Promise<string[]> {
  const all = await readdir(path).catch(() => []);
  return all.filter((name) => isSha256Hex(name));
}

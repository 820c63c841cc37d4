import { chmodSync, lchownSync, mkdirSync } from 'node:fs';
import { rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, LazypullError, messageOf } from '../errors.ts';
import { mountsBelow } from '../kernel/mount.ts';
import type { Log } from '../log.ts';
import { contentPath, workPath } from './mounts.ts';
import type { RemoteLayers } from './remote-layers.ts';
import { removeTree } from './remove-tree.ts';
import { idsIn } from './snapshot-id.ts';
import type { Kind } from './snapshot.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/** How many directories one line of the log names. */
const maxNamed = 20;

/**
 * The parts of an empty snapshot, in the order in which they can be removed: the content, and what overlayfs makes for
 * itself.
 */
const emptied = ['fs', 'work/work', 'work/index', 'work', ''];

/**
 * The directories of one client's snapshots: `<path>/<id>/fs`, and for an active one `<path>/<id>/work`, as
 * stargz-snapshotter lays them out. A lazy layer is mounted on its `<id>` and contains `fs`. So nothing here removes a
 * directory that is, or contains, a mount point. A directory that is not empty is removed only if a client removed the
 * snapshot.
 */
export class Directories {
  readonly path: string;
  readonly #layers: RemoteLayers;
  readonly #log: Log;
  readonly #inUse = new Set<number>();
  readonly #removing = new Map<number, Promise<boolean>>();
  /** Directories with content that no record names; the log has named them. */
  readonly #kept = new Set<number>();
  #queue: Promise<unknown> = Promise.resolve();
  #stopped = false;
  #isLeft = false;

  constructor(path: string, layers: RemoteLayers, log: Log) {
    this.path = path;
    this.#layers = layers;
    this.#log = log;
  }

  content(id: number): string {
    return contentPath(this.path, id);
  }

  /**
   * Makes the directory of a snapshot that has no record yet, and keeps it from `removeStrays` until `release`. The
   * content gets the owner of the nearest parent's content. It waits for a thread only to look at that parent, which
   * can be a lazy layer: on a busy machine each wait takes milliseconds.
   */
  async create(id: number, kind: Kind, parent?: number): Promise<void> {
    this.#inUse.add(id);
    const content = this.content(id);
    makeDirectory(content, 0o700);
    chmodSync(content, 0o755);
    if (kind === 'active') {
      mkdirSync(workPath(this.path, id));
      chmodSync(workPath(this.path, id), 0o711);
    }
    if (parent !== undefined) {
      const { uid, gid } = await stat(this.content(parent));
      lchownSync(content, uid, gid);
    }
  }

  /** To be called once a record names the directory of `id`, or the directory has been removed. */
  release(id: number): void {
    this.#inUse.delete(id);
  }

  /**
   * Unmounts and removes the directory of a snapshot that got no record, and so is empty. If it cannot be removed, that
   * is logged, and it stays for `removeStrays`.
   */
  async remove(id: number): Promise<void> {
    await this.#remove(id, removeEmpty, Promise.resolve());
  }

  /**
   * Unmounts and removes the directory of a snapshot that the client removed, with all that is in it. It does so in the
   * background, one directory after the other, and not before `after` has settled. Resolves to whether the directory is
   * gone.
   */
  removeLater(id: number, after?: Promise<void>): Promise<boolean> {
    const removal = this.#remove(id, removeTree, Promise.allSettled([this.#queue, after]));
    this.#queue = removal;
    return removal;
  }

  /**
   * Removes the directories of the ids in `removed` with all that is in them. Removes those of ids that `known` does
   * not have only if they are empty: a lost record does not make a directory with content garbage. The others are
   * logged, once. `records` is called after the directory was read.
   *
   * @returns the ids in `removed` that have no directory any more
   */
  async removeStrays(records: () => { known: ReadonlySet<number>; removed: ReadonlySet<number> }): Promise<number[]> {
    const ids = idsIn(this.path);
    const { known, removed } = records();
    const gone = [...removed].filter((id) => !ids.has(id));
    const kept: string[] = [];
    for (const id of ids) {
      if (this.#stopped) break;
      if (known.has(id) || this.#inUse.has(id) || this.#kept.has(id)) continue;
      const isRemoved = removed.has(id);
      if (await this.#remove(id, isRemoved ? removeTree : removeEmpty, Promise.resolve())) {
        if (isRemoved) gone.push(id);
      } else if (!isRemoved && !this.#stopped && !this.#kept.has(id)) {
        this.#kept.add(id);
        kept.push(String(id));
      }
    }
    if (kept.length > 0) {
      this.#log.warn(
        { directory: this.path, snapshots: kept.slice(0, maxNamed), count: kept.length },
        'directories that no snapshot names hold something, and are left alone: remove them if that is not needed',
      );
    }
    return gone;
  }

  /** The highest id that has a directory, 0 if none has. */
  highestId(): number {
    return [...idsIn(this.path)].reduce((highest, id) => Math.max(highest, id), 0);
  }

  /** Stops removing, and leaves the rest as it is. Resolves when nothing is under way any more. */
  leave(): Promise<void> {
    this.#isLeft = true;
    return this.stop();
  }

  /**
   * Stops removing. The rest is unmounted, but its files stay for the next start. Resolves when nothing is under way
   * any more.
   */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#removing.values());
  }

  /** @returns whether the directory is gone */
  #remove(id: number, removeAt: (path: string) => Promise<boolean>, after: Promise<unknown>): Promise<boolean> {
    const running = this.#removing.get(id);
    if (running) return running;
    const path = join(this.path, String(id));
    const removal = after
      .then(() => this.#unmountAndRemove(path, removeAt))
      .catch((error: unknown) => {
        this.#log.warn({ path, error: messageOf(error) }, 'failed to remove directory');
        return false;
      })
      .finally(() => this.#removing.delete(id));
    this.#removing.set(id, removal);
    return removal;
  }

  async #unmountAndRemove(path: string, removeAt: (path: string) => Promise<boolean>): Promise<boolean> {
    if (this.#isLeft) return false;
    await this.#layers.unmount(join(path, 'fs'));
    const [mounted] = await mountsBelow(path);
    if (mounted !== undefined) {
      throw new LazypullError('FailedPrecondition', `Cannot remove "${path}" while "${mounted}" is mounted`);
    }
    return this.#stopped ? false : removeAt(path);
  }
}

/** Removes the directory of a snapshot into which nothing was written. @returns whether it is gone */
async function removeEmpty(path: string): Promise<boolean> {
  for (const name of emptied) {
    try {
      await rmdir(join(path, name));
    } catch (error) {
      if (errnoOf(error) === 'ENOTEMPTY') return false;
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
  return true;
}

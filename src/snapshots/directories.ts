import { chmodSync, lchownSync, mkdirSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LazypullError, messageOf } from '../errors.ts';
import { mountsBelow } from '../kernel/mount.ts';
import { nameBeforeAside } from '../kernel/mount-point.ts';
import type { Log } from '../log.ts';
import { contentPath, workPath } from './mounts.ts';
import type { RemoteLayers } from './remote-layers.ts';
import { removeTree } from './remove-tree.ts';
import type { Kind } from './snapshot.ts';

/**
 * The directories of one client's snapshots, `<path>/<id>/fs` and for an active one `<path>/<id>/work`, as stargz-snapshotter lays them out. A lazy layer is
 * mounted on its `fs`, so nothing here removes a directory that is, or holds, a mount point.
 */
export class Directories {
  readonly path: string;
  readonly #layers: RemoteLayers;
  readonly #log: Log;
  readonly #inUse = new Set<number>();
  readonly #removing = new Map<string, Promise<void>>();
  #queue = Promise.resolve();
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
   * Makes the directory of a snapshot that has no record yet, and keeps it from `removeStrays` until `release`. The owner of the content is that of the
   * nearest parent's. It waits for no thread but that of the parent, which can be a lazy layer: on a busy machine each wait takes milliseconds.
   */
  async create(id: number, kind: Kind, parent?: number): Promise<void> {
    this.#inUse.add(id);
    const content = this.content(id);
    mkdirSync(content, { recursive: true, mode: 0o700 });
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

  /** Says that a record names the directory of `id` now, or that it has been removed. */
  release(id: number): void {
    this.#inUse.delete(id);
  }

  /** Unmounts and removes the directory of a snapshot that got no record. What cannot be removed is logged and stays for `removeStrays`. */
  async remove(id: number): Promise<void> {
    await this.#remove(String(id), Promise.resolve());
  }

  /** As `remove`, in the background, one directory after the other, and not before `after` has settled. */
  removeLater(id: number, after?: Promise<void>): void {
    this.#queue = this.#remove(String(id), Promise.allSettled([this.#queue, after]));
  }

  /** Removes every directory that belongs to no id of `records()`, which is asked after the directory was read. */
  async removeStrays(records: () => ReadonlySet<number>): Promise<void> {
    const names = await this.#names();
    const known = records();
    const strays = names.filter((name) => !known.has(idOf(name)) && !this.#inUse.has(idOf(name)));
    for (const name of new Set(strays)) {
      if (this.#stopped) return;
      await this.#remove(name, Promise.resolve());
    }
  }

  /** The highest id that has a directory, 0 when none has. */
  async highestId(): Promise<number> {
    const ids = (await this.#names()).map(idOf).filter(Number.isSafeInteger);
    return ids.reduce((highest, id) => Math.max(highest, id), 0);
  }

  /** Ends removing, with what is left as it is. Resolves when nothing is under way any more. */
  leave(): Promise<void> {
    this.#isLeft = true;
    return this.stop();
  }

  /** Ends removing: what is left is unmounted, but its files stay for the next start. Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#removing.values());
  }

  async #names(): Promise<string[]> {
    return (await readdir(this.path)).map(nameBeforeAside);
  }

  #remove(name: string, after: Promise<unknown>): Promise<void> {
    const running = this.#removing.get(name);
    if (running) return running;
    const removal = after
      .then(() => this.#unmountAndRemove(join(this.path, name)))
      .catch((error: unknown) => {
        this.#log.warn({ path: join(this.path, name), error: messageOf(error) }, 'failed to remove directory');
      })
      .finally(() => this.#removing.delete(name));
    this.#removing.set(name, removal);
    return removal;
  }

  async #unmountAndRemove(path: string): Promise<void> {
    if (this.#isLeft) return;
    await this.#layers.unmount(join(path, 'fs'));
    const [mounted] = await mountsBelow(path);
    if (mounted !== undefined) {
      throw new LazypullError('FailedPrecondition', `Cannot remove "${path}" while "${mounted}" is mounted`);
    }
    if (!this.#stopped) await removeTree(path);
  }
}

function idOf(name: string): number {
  return /^[1-9]\d{0,15}$/.test(name) ? Number(name) : Number.NaN;
}

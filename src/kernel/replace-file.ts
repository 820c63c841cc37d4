import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * What is known to be on the disk after a file has been replaced: nothing; its content; or its content and its name.
 */
export type Synced = 'nothing' | 'content' | 'name';

export interface Replacement {
  /** 0o600 by default. */
  readonly mode?: number;
  /** The owner of the file; by default the user that writes it. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  readonly synced?: Synced;
  /**
   * Where it is written before it is renamed: by default beside it, with the suffix ".new". If several processes may
   * write at the same time, each needs a path of its own.
   */
  readonly temporary?: string;
}

/** Gives a file new content, whole or not at all: readers see the old file or the new one. The file need not exist. */
export async function replaceFile(path: string, content: string | Uint8Array, how: Replacement = {}): Promise<void> {
  const { mode = 0o600, owner, synced = 'nothing', temporary = `${path}.new` } = how;
  await replacing(path, temporary, async () => {
    await using file = await open(temporary, how.temporary === undefined ? 'w' : 'wx', mode);
    await file.writeFile(content);
    if (owner !== undefined) {
      await file.chown(owner.uid, owner.gid);
      await file.chmod(mode);
    }
    if (synced !== 'nothing') await file.sync();
  });
  if (synced === 'name') syncDirectory(dirname(path));
}

/**
 * The same with blocking calls, and without syncing. A small file in the page cache takes some microseconds so. To hand
 * each call to a thread takes longer, and on a busy machine milliseconds.
 */
export function replaceFileNow(path: string, content: string | Uint8Array): void {
  const temporary = `${path}.new`;
  try {
    writeFileSync(temporary, content, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/**
 * Calls `write` to write a file at another path of the same file system, and renames it once that has succeeded.
 * Otherwise nothing of it is left.
 */
export async function replacing<T>(path: string, temporary: string, write: () => Promise<T>): Promise<T> {
  try {
    const result = await write();
    await rename(temporary, path);
    return result;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Syncs the names in a directory: which files exist there. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

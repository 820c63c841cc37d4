import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** What is known to be on the disk when a file has been replaced: nothing; its content; or that and its name. */
export type Synced = 'nothing' | 'content' | 'name';

export interface Replacement {
  /** 0o600 by default. */
  readonly mode?: number;
  /** The user that gets the file; the one that writes it by default. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  readonly synced?: Synced;
  /**
   * Where it is written before it is renamed: beside it, with the end ".new". If several processes may write at the
   * same time, each needs a path of its own.
   */
  readonly temporary?: string;
}

/** Gives a file new content, whole or not at all: readers see the old file or the new one. The file may be new too. */
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

/** The same with blocking calls, and nothing synced. */
export function replaceFileNow(path: string, content: string): void {
  writeFileSync(`${path}.new`, content, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/**
 * Has a file written at another path of the same file system, and gives it its name when that has succeeded; else
 * nothing of it is left.
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

/** Syncs the names in a directory: that files are there, and which. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

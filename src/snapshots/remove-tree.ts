import { readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { errnoOf } from '../errors.ts';

const CONCURRENT_REMOVALS = 4;
/** Well below PATH_MAX, which a tree made with relative names may exceed. */
const MAX_PATH_BYTES = 3000;
const slash = Buffer.from('/');

/**
 * Removes a directory with all that is in it, whatever the names and however deep. Unlike fs.rm, only a few removals
 * are under way at a time, so that the garbage of a big image leaves room in the thread pool. If it is gone already,
 * that is no error. Resolves to true, because it is gone then.
 */
export async function removeTree(path: string): Promise<true> {
  const root = Buffer.from(path);
  let moved = 0;

  const remove = async (deep: Buffer): Promise<void> => {
    let directory = deep;
    if (deep.length > Math.max(MAX_PATH_BYTES, root.length + 100)) {
      directory = Buffer.concat([root, Buffer.from(`/deep-${process.pid}-${moved++}`)]);
      await rename(deep, directory);
    }
    const entries = (await unlessGone(readdir(directory, { encoding: 'buffer', withFileTypes: true }))) ?? [];
    const pathOf = (name: Buffer) => Buffer.concat([directory, slash, name]);
    const queue = entries.values();
    const worker = async () => {
      for (const entry of queue) {
        if (!entry.isDirectory()) await unlessGone(unlink(pathOf(entry.name)));
      }
    };
    await Promise.all(Array.from({ length: CONCURRENT_REMOVALS }, worker));
    for (const entry of entries) {
      if (entry.isDirectory()) await remove(pathOf(entry.name));
    }
    await unlessGone(rmdir(directory));
  };
  await remove(root);
  return true;
}

async function unlessGone<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

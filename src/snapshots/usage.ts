import { lstat, readdir } from 'node:fs/promises';
import { errnoOf } from '../errors.ts';
import type { Usage } from './snapshot.ts';

const BLOCK_BYTES = 512;
const CONCURRENT_STATS = 32;

/**
 * The allocated bytes and the inodes of a tree with its root, as containerd counts them (continuity, fs.DiskUsage): blocks of every inode, a hard link
 * once. What vanishes under way, or lies deeper than a path can say, is not counted.
 */
export async function diskUsage(root: string): Promise<Usage> {
  const linked = new Set<string>();
  let inodes = 0;
  let bytes = 0;

  const count = async (path: Buffer): Promise<boolean> => {
    const stat = await ifReachable(lstat(path, { bigint: true }));
    if (!stat) return false;
    if (stat.nlink > 1n && !stat.isDirectory()) {
      const inode = `${stat.dev}:${stat.ino}`;
      if (linked.has(inode)) return false;
      linked.add(inode);
    }
    inodes++;
    bytes += Number(stat.blocks) * BLOCK_BYTES;
    return stat.isDirectory();
  };

  const pending: Buffer[] = [];
  if (await count(Buffer.from(root))) pending.push(Buffer.from(root));
  for (let directory = pending.pop(); directory; directory = pending.pop()) {
    const prefix = Buffer.concat([directory, Buffer.from('/')]);
    const names = (await ifReachable(readdir(directory, { encoding: 'buffer' }))) ?? [];
    for (let start = 0; start < names.length; start += CONCURRENT_STATS) {
      const paths = names.slice(start, start + CONCURRENT_STATS).map((name) => Buffer.concat([prefix, name]));
      const isDirectory = await Promise.all(paths.map(count));
      pending.push(...paths.filter((_, index) => isDirectory[index]));
    }
  }
  return { inodes, bytes };
}

async function ifReachable<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (['ENOENT', 'ENAMETOOLONG'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

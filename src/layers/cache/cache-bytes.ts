import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LayerDirectory } from '../store/layer-directory.ts';

const blockBytes = 512;

/** The disk space of the files of all layers below a directory. Files that vanish meanwhile are not counted. */
export async function cacheBytes(directory: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(directory, { recursive: true }).catch(() => [])) {
    const stats = await lstat(join(directory, name)).catch(() => undefined);
    bytes += (stats?.blocks ?? 0) * blockBytes;
  }
  return bytes;
}

/** The disk space of the files of all layers below a directory, and the number of layers. */
export async function cacheSize(directory: string): Promise<{ bytes: number; layers: number }> {
  const names = await readdir(directory).catch(() => []);
  return { bytes: await cacheBytes(directory), layers: names.length };
}

/**
 * The inodes and the disk space of a layer's files, without directories below, and their disk space once all of its
 * data is in `disk`.
 */
export async function layerUsage(
  directory: Pick<LayerDirectory, 'path' | 'diskPath' | 'record'>,
): Promise<{ inodes: number; bytes: number; mostBytes: number }> {
  const { path, diskPath } = directory;
  const record = await directory.record().catch(() => undefined);
  const emptyBytes = record?.dataOffset === undefined ? 0 : record.dataOffset - record.metadataBytes;
  const usage = { inodes: 0, bytes: 0, mostBytes: 0 };
  const names = await readdir(path).catch(() => undefined);
  for (const file of names === undefined ? [] : [path, ...names.map((name) => join(path, name))]) {
    const stats = await lstat(file).catch(() => undefined);
    if (stats === undefined) continue;
    const bytes = stats.blocks * blockBytes;
    usage.inodes++;
    usage.bytes += bytes;
    usage.mostBytes += file === diskPath ? Math.max(stats.size - emptyBytes, bytes) : bytes;
  }
  return usage;
}

import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

const blockBytes = 512;

/** The disk space that the files of all layers below a directory take. What vanishes under way is not counted. */
export async function cacheBytes(directory: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(directory, { recursive: true }).catch(() => [])) {
    const stats = await lstat(join(directory, name)).catch(() => undefined);
    bytes += (stats?.blocks ?? 0) * blockBytes;
  }
  return bytes;
}

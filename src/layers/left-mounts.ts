import { abort, detach, mountTable } from '../kernel/mount.ts';
import { clearMountPoint } from '../kernel/mount-point.ts';
import type { Log } from '../log.ts';

/** The image at each mount point of a layer below `directory` at which nothing else is mounted. */
export async function leftMounts(directory: string): Promise<ReadonlyMap<string, string>> {
  const images = new Map<string, string>();
  const several = new Set<string>();
  for (const { path, type, source } of await mountTable(directory)) {
    if (images.has(path) || type !== 'erofs') several.add(path);
    images.set(path, source);
  }
  for (const path of several) images.delete(path);
  return images;
}

/**
 * Takes away what a dead process mounted below `directory` that is of no use without it: its FUSE file system at `mountpoint`, and before that the layers
 * on it, so that whatever is found mounted there another time is on the next one.
 */
export async function takeAway(directory: string, mountpoint: string, log: Log): Promise<void> {
  const table = await mountTable(directory);
  const dead = table.filter(({ type, source }) => type === 'erofs' && source.startsWith(`${mountpoint}/`));
  for (const { path } of dead.toReversed()) await clearMountPoint(path, detach);
  let connections = 0;
  while (await abort(mountpoint)) connections++;
  if (connections > 0) {
    log.warn(
      { mountpoint, layers: dead.length },
      'nothing keeps the mounts of a process that ended: they are made anew, and who used them gets errors',
    );
  }
}

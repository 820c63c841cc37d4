import { mkdirSync, rmdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LazypullError } from '../errors.ts';
import { detach, mountErofs } from './mount.ts';
import { mountAt, mountAtIfCached } from './statx.ts';

/**
 * Mounts an EROFS image as `mountErofs`, so that its tree is at `target`, in place of whatever is mounted there. If the
 * mount is on the parent of `target`, the image has a directory with the last name of `target`. So if nothing is
 * mounted there, `target` does not exist: no program can take an empty directory for the tree.
 *
 * @param target a path in a directory of its own, which is made if it is not there
 * @param point the mount point: the parent of `target`, or `target` itself if the root of the image is the tree
 * @param mount mounts it: `mountErofs`, or another function
 */
export async function fillMountPoint(
  source: string,
  target: string,
  point = dirname(target),
  mount = mountErofs,
): Promise<void> {
  await clearMountPoint(target, detach);
  mkdirSync(point, { recursive: true });
  try {
    await mount(source, point);
    await stat(target).catch((cause: unknown) => {
      const text = `The EROFS image "${source}" does not show a tree at "${target}"`;
      throw new LazypullError('DataLoss', text, { cause });
    });
  } catch (error) {
    await clearMountPoint(target, detach);
    throw error;
  }
}

/**
 * Unmounts everything at `target` and its parent, and removes `target` unless something is in it.
 *
 * @param target as for `fillMountPoint`
 * @param once unmounts the topmost mount, as `unmount` and `detach`
 * @returns whether there was a mount
 */
export async function clearMountPoint(target: string, once: (target: string) => Promise<boolean>): Promise<boolean> {
  let was = false;
  while (await once(dirname(target))) was = true;
  while (await once(target)) was = true;
  try {
    rmdirSync(target);
  } catch {
    // It does not exist, or something is in it.
  }
  return was;
}

/**
 * The mount whose content is at `target`, as `mountAt` names it. Never waits for a file system.
 *
 * @param target as for `fillMountPoint`
 * @returns undefined if nothing is there
 */
export function mountShownAt(target: string): string | undefined {
  const below = mountAt(dirname(target));
  if (below === undefined) return undefined;
  // A directory with a mount on it stays in the cache.
  return mountAtIfCached(target) ?? below;
}

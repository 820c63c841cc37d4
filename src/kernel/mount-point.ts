import { mkdirSync, rmdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LazypullError } from '../errors.ts';
import { detach, mountErofs } from './mount.ts';
import { mountAt, mountAtIfCached } from './statx.ts';

/**
 * Mounts an EROFS image as `mountErofs` does, so that the tree in it is at `target`, in place of whatever is mounted there. If the mount is on the parent of `target`,
 * the image has a directory of the last name of `target`. So if nothing is mounted there, there is no `target`: nobody can take an empty directory for the tree.
 *
 * @param target a path in a directory of its own, which is made if it is not there
 * @param point what it is mounted on: the parent of `target`, or for an image whose root is the tree, `target` itself
 * @param mount what mounts it: `mountErofs`, or another function that does it otherwise
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
 * Takes away all that is mounted at `target` or its parent, and `target` itself unless something is in it.
 *
 * @param target as for `fillMountPoint`
 * @param once takes the topmost mount away, as `unmount` and `detach` do
 * @returns whether there was a mount
 */
export async function clearMountPoint(target: string, once: (target: string) => Promise<boolean>): Promise<boolean> {
  let was = false;
  while (await once(dirname(target))) was = true;
  while (await once(target)) was = true;
  try {
    rmdirSync(target);
  } catch {
    // There is nothing, or something is in it.
  }
  return was;
}

/**
 * The mount that shows what is at `target`, as `mountAt` names it. Never waits for a file system.
 *
 * @param target as for `fillMountPoint`
 * @returns undefined if nothing is there
 */
export function mountShownAt(target: string): string | undefined {
  const below = mountAt(dirname(target));
  if (below === undefined) return undefined;
  // A directory on which something is mounted stays in the cache.
  return mountAtIfCached(target) ?? below;
}

import { closeSync, openSync, rmdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LazypullError } from '../errors.ts';
import { pathOf } from './detached-mount.ts';
import { forget } from './page-cache.ts';
import { detach, mountImage } from './mount.ts';
import { mountAt, mountAtIfCached } from './statx.ts';
import { makeDirectory } from './make-directory.ts';

/**
 * Mounts an image as `mountImage`, so that its tree is at `target`, in place of whatever is mounted there. The
 * mount is on the parent of `target`, and the image has a directory with the last name of `target`. So if nothing is
 * mounted there, `target` does not exist: no program can take an empty directory for the tree.
 *
 * @param type of the file system in the image, as the kernel calls it
 * @param target a path in a directory of its own, which is made if it is not there
 * @param mount mounts it: `mountImage`, or another function
 */
export async function fillMountPoint(type: string, source: string, target: string, mount = mountImage): Promise<void> {
  await clearMountPoint(target, detach);
  makeDirectory(dirname(target));
  try {
    await mount(type, source, dirname(target));
    await stat(target).catch((cause: unknown) => {
      throw treeless(type, source, target, cause);
    });
  } catch (error) {
    await clearMountPoint(target, detach);
    throw error;
  }
}

/**
 * As `fillMountPoint`, for a `target` that is itself a mount point, as in old versions. At every moment programs find
 * one of the two trees at `target`. If that fails, the old one stays.
 */
export async function coverMountPoint(type: string, source: string, target: string): Promise<void> {
  const point = dirname(target);
  forget(source);
  const below = openSync(point, 'r');
  try {
    await mountImage(type, source, point);
    if (mountAt(target) !== mountAt(point)) {
      await detach(point);
      throw treeless(type, source, target);
    }
    const hidden = join(pathOf(below), basename(target));
    while (await detach(hidden));
    rmdirSync(hidden);
  } finally {
    closeSync(below);
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

function treeless(type: string, source: string, target: string, cause?: unknown): LazypullError {
  const text = `The ${type.toUpperCase()} image "${source}" does not show a tree at "${target}"`;
  return new LazypullError('DataLoss', text, { cause });
}

/**
 * The mount whose content is at `target`, as `mountAt` names it. Never waits for a file system.
 *
 * @param target as for `fillMountPoint`
 * @returns undefined if nothing is mounted there
 */
export function mountShownAt(target: string): string | undefined {
  const point = dirname(target);
  const below = mountAt(point);
  if (below === undefined) return undefined;
  // A directory with a mount on it stays in the cache.
  const shown = mountAtIfCached(target) ?? below;
  return shown === mountAt(dirname(point)) ? undefined : shown;
}

import { mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../errors.ts';
import { detach, mountErofs } from './mount.ts';

const suffix = '.aside';

/** The name of a mount point's parent while that is aside, or was when the process which put it there ended, without what says so. */
export function nameBeforeAside(name: string): string {
  return name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
}

/**
 * Mounts an EROFS image as `mountErofs` does at `target`, which is made when it is not there, in place of whatever is mounted there. Who opens `target` meanwhile
 * finds what was mounted, the image, or nothing: never an empty directory. Nor does one stay when the image cannot be mounted.
 *
 * @param target a directory in one of its own, which is put aside meanwhile
 * @param mount what mounts it: `mountErofs`, or another one that does it otherwise
 */
export async function fillMountPoint(source: string, target: string, mount = mountErofs): Promise<void> {
  await aside(target, async (point) => {
    while (await detach(point));
    mkdirSync(point, { recursive: true });
    try {
      await mount(source, point);
    } catch (error) {
      removeIfEmpty(point);
      throw error;
    }
  });
}

/**
 * Takes away all that is mounted at `target`, and then that directory unless something is in it. Who opens it meanwhile finds what was mounted or nothing.
 *
 * @param target as for `fillMountPoint`
 * @param once takes the topmost mount away, as `unmount` and `detach` do
 * @returns whether there was a mount
 */
export function clearMountPoint(target: string, once: (target: string) => Promise<boolean>): Promise<boolean> {
  return aside(target, (point) => takeAway(point, once));
}

/** Runs `action` on the mount point while nobody finds it at its own path. A mount point cannot be renamed, but the directory that it is in can. */
async function aside<T>(target: string, action: (point: string) => Promise<T>): Promise<T> {
  const parent = dirname(target);
  const elsewhere = parent + suffix;
  const point = join(elsewhere, basename(target));
  if (!renamed(parent, elsewhere)) {
    // Who was ended in here has left one there, and another one has been made since.
    await takeAway(point, detach);
    renameSync(parent, elsewhere);
  }
  try {
    return await action(point);
  } finally {
    renamed(elsewhere, parent);
  }
}

async function takeAway(point: string, once: (target: string) => Promise<boolean>): Promise<boolean> {
  let was = false;
  while (await once(point)) was = true;
  removeIfEmpty(point);
  return was;
}

/** @returns false when there is something else at `to`; true also when there is nothing at `from` */
function renamed(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return true;
    if (errnoOf(error) === 'ENOTEMPTY') return false;
    throw error;
  }
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // There is nothing, or something is in it.
  }
}

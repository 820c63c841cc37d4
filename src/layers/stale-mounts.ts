import { rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { treeName } from '../fronts/front.ts';
import { isOnConnection } from '../fuse/connection-name.ts';
import { abort, detach, mountTable } from '../kernel/mount.ts';
import { clearMountPoint } from '../kernel/mount-point.ts';
import { messageOf } from '../errors.ts';
import type { MountHelper } from '../kernel/mount-helper.ts';
import type { Log } from '../log.ts';

/** What is mounted of a layer. */
export interface StaleMount {
  /** The image. */
  readonly source: string;
  /** Whether it is mounted on the path of the tree itself, as old versions did, with a directory below it. */
  readonly isBare: boolean;
}

/**
 * The mounts of the layers' trees below `directory`, by the path of the tree. Left out if something else is mounted
 * there, or only a part of an image.
 *
 * @param types of the file systems that layers may have, as the kernel calls them
 */
export async function staleMounts(
  directory: string,
  types: ReadonlySet<string>,
): Promise<ReadonlyMap<string, StaleMount>> {
  const images = new Map<string, StaleMount>();
  const others = new Set<string>();
  for (const { path, type, source, root } of await mountTable(directory)) {
    const tree = treeAt(path);
    if (images.has(tree) || !types.has(type) || root !== '/') others.add(tree);
    images.set(tree, { source, isBare: tree === path });
  }
  for (const path of others) images.delete(path);
  return images;
}

/**
 * Removes mounts of a dead process below `directory` that are useless without it: layers on its FUSE file system. So
 * any such mount that is found later belongs to the next one.
 *
 * @param mountpoint where an old version mounted its FUSE file system
 * @param types of the file systems that layers may have, as the kernel calls them
 */
export async function takeAway(
  directory: string,
  mountpoint: string,
  types: ReadonlySet<string>,
  log: Log,
): Promise<void> {
  const table = await mountTable(directory);
  const dead = table.filter(
    ({ type, source }) => types.has(type) && (isOnConnection(basename(source)) || source.startsWith(`${mountpoint}/`)),
  );
  for (const { path } of dead.toReversed()) await clearMountPoint(treeAt(path), detach);
  let connections = 0;
  while (await abort(mountpoint)) connections++;
  if (connections > 0 || dead.length > 0) {
    log.warn(
      { layers: dead.length },
      'the mounts of a daemon that ended have no keeper: mounting again, and programs that used them get errors',
    );
  }
}

/** The path of the tree of what is mounted on `path`: bare images are mounted on its own path. */
function treeAt(path: string): string {
  return basename(path) === treeName ? path : join(path, treeName);
}

/** Unmounts one of our mount points; if it is in use, it is taken out of the tree. @returns whether it is in use */
export async function takeOut(helper: MountHelper, mountpoint: string, log: Log): Promise<boolean> {
  try {
    await helper.unmountAll(mountpoint);
    return false;
  } catch (error) {
    log.warn({ mountpoint, error: messageOf(error) }, 'a layer is in use and is unmounted lazily');
    await helper.detachAll(mountpoint);
    return true;
  }
}

/** Takes our file system out of a directory, and removes the directory. */
export async function removeAttached(helper: MountHelper, directory: string): Promise<void> {
  while (await helper.detach(directory));
  await rmdir(directory).catch(() => undefined);
}

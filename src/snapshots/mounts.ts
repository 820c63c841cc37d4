import { join } from 'node:path';
import { treeName } from '../fronts/front.ts';
import type { Kind, Mount } from './snapshot.ts';

/**
 * The directory of the content of snapshot `id`: the tree of a committed layer, or the upper directory of an overlay.
 */
export function contentPath(directory: string, id: number): string {
  return join(directory, String(id), treeName);
}

/** The work directory of the overlay of the active snapshot `id`. */
export function workPath(directory: string, id: number): string {
  return join(directory, String(id), 'work');
}

/**
 * How an overlay of lazy layers numbers inodes, in the kernel's words (Documentation/filesystems/overlayfs.rst, "Inode
 * properties"). Each layer is a file system of its own. Without xino, files and directories have different device
 * numbers, and the inode numbers of directories change when the kernel forgets them.
 */
export type Xino = 'on' | 'auto';

/**
 * What a client mounts to see a snapshot. The shapes are exactly those of containerd's overlay snapshotter, because
 * BuildKit's differ parses them.
 */
export interface MountRequest {
  readonly id: number;
  readonly kind: Kind;
  /** Ids, nearest first. */
  readonly parents: readonly number[];
  /** Undefined if no layer is lazy, or to leave it to the kernel's own setting. */
  readonly xino?: Xino | undefined;
}

/**
 * The mounts of a snapshot. Without parents, and for a view of a single parent, it is one bind mount. Otherwise it is
 * one overlay with `workdir` and `upperdir` if the snapshot is active, and `lowerdir`, nearest parent first.
 *
 * @param directory the directory of the snapshots' directories
 */
export function mountsOf(directory: string, { id, kind, parents, xino }: MountRequest): readonly Mount[] {
  const [nearest] = parents;
  const active = kind === 'active';
  if (nearest === undefined) {
    return [{ type: 'bind', source: contentPath(directory, id), options: [active ? 'rw' : 'ro', 'rbind'] }];
  }
  if (!active && parents.length === 1) {
    return [{ type: 'bind', source: contentPath(directory, nearest), options: ['ro', 'rbind'] }];
  }
  const content = contentPath(directory, id);
  const upper = active ? [`workdir=${workPath(directory, id)}`, `upperdir=${content}`] : [];
  const lower = `lowerdir=${parents.map((parent) => contentPath(directory, parent)).join(':')}`;
  const plain = [...upper, lower];
  return [{ type: 'overlay', source: 'overlay', options: xino === undefined ? plain : withXino(plain, xino) }];
}

/**
 * With more bytes of options than this, containerd shortens the paths of the first `lowerdir` (core/mount,
 * compactLowerdirOption).
 */
const maxPlainBytes = 4096 - 512;

/**
 * Adds `xino` in a way that no client minds. BuildKit uses its overlay differ only if it knows each option by its
 * prefix. When it makes a mount read-only, it keeps only `lowerdir` and `redirect_dir` of these. So `xino` is hidden in
 * a second `lowerdir`, which the kernel reads as two options. The kernel and BuildKit use the last `lowerdir`,
 * containerd the first one; both are right. If that is too long, a `redirect_dir` carries the option, with the value
 * that the kernel uses anyway.
 *
 * @param plain ends in `lowerdir`, and starts with `workdir` if there is one
 */
function withXino(plain: readonly string[], xino: Xino): string[] {
  const lower = plain.at(-1)!;
  const [nearest] = lower.split(':', 1);
  const options = [lower, `${nearest},xino=${xino}`, ...plain];
  if (Buffer.byteLength(options.join(',')) < maxPlainBytes) return options;
  return [...plain, `redirect_dir=follow,xino=${xino}`];
}

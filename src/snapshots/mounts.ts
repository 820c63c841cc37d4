import { join } from 'node:path';
import { treeName } from '../fronts/erofs/plan.ts';
import type { Kind, Mount } from './snapshot.ts';

/**
 * The directory of the content of snapshot `id`: what its committed layer holds, or the upper directory of an overlay.
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
 * properties"). Each layer is a file system of its own: without xino, files and directories have other device numbers,
 * and the inode numbers of directories change when the kernel forgets them.
 */
export type Xino = 'on' | 'auto';

/**
 * What a client mounts to see a snapshot. The shapes are containerd's overlay snapshotter's to the letter, because
 * BuildKit's differ parses them.
 */
export interface MountRequest {
  readonly id: number;
  readonly kind: Kind;
  /** Ids, nearest first. */
  readonly parents: readonly number[];
  /** Undefined if the kernel's own setting is to count, and if no layer is lazy. */
  readonly xino?: Xino | undefined;
}

/**
 * The mounts of a snapshot: one bind mount without parents, and for a view of one; else one overlay with `workdir` and
 * `upperdir` if it is active, and `lowerdir`, nearest parent first.
 *
 * @param directory where the snapshots' directories are
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
  return [{ type: 'overlay', source: 'overlay', options: xino === undefined ? plain : withXino(plain, xino, content) }];
}

/**
 * Above this many bytes of options, containerd shortens the paths of the first `lowerdir` (core/mount,
 * compactLowerdirOption).
 */
const maxPlainBytes = 4096 - 512;

/**
 * Adds `xino` so that no client minds. BuildKit keeps to its overlay differ only if it knows each option by its
 * beginning, and of those that it knows only `lowerdir` stays when it makes a mount read-only. So what it takes for one
 * more `lowerdir` is two options to the kernel. To the kernel and to BuildKit the last `lowerdir` counts, to containerd
 * the first one, and both are the right one. If that is too long, a `workdir` carries it, which is lost in the mounts
 * that BuildKit makes read-only.
 *
 * @param plain ends in `lowerdir`, and starts with `workdir` if there is one
 * @param directory for a `workdir` if there is none, which the kernel ignores then
 */
function withXino(plain: readonly string[], xino: Xino, directory: string): string[] {
  const lower = plain.at(-1)!;
  const [nearest] = lower.split(':', 1);
  const options = [lower, `${nearest},xino=${xino}`, ...plain];
  if (Buffer.byteLength(options.join(',')) < maxPlainBytes) return options;
  return plain.length === 1
    ? [`workdir=${directory},xino=${xino}`, lower]
    : [`${plain[0]},xino=${xino}`, ...plain.slice(1)];
}

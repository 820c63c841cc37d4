import { join } from 'node:path';
import type { Kind, Mount } from './snapshot.ts';

/** The directory of the content of snapshot `id`: what its committed layer holds, or the upper directory of an overlay. */
export function contentPath(directory: string, id: number): string {
  return join(directory, String(id), 'fs');
}

/** The work directory of the overlay of the active snapshot `id`. */
export function workPath(directory: string, id: number): string {
  return join(directory, String(id), 'work');
}

/**
 * What a client mounts to see a snapshot. The shapes are containerd's overlay snapshotter's to the letter, because BuildKit's differ parses them:
 * one bind mount without parents, and for a view of one; else one overlay with only `workdir`, `upperdir` and `lowerdir`, nearest parent first.
 *
 * @param directory where the snapshots' directories are
 * @param parents ids, nearest first
 * @param overlayOptions more options for an overlay: `userxattr` inside a user namespace
 */
export function mountsOf(
  directory: string,
  snapshot: { id: number; kind: Kind; parents: readonly number[] },
  overlayOptions: readonly string[] = [],
): readonly Mount[] {
  const { id, kind, parents } = snapshot;
  const [nearest] = parents;
  const active = kind === 'active';
  if (nearest === undefined) {
    return [{ type: 'bind', source: contentPath(directory, id), options: [active ? 'rw' : 'ro', 'rbind'] }];
  }
  if (!active && parents.length === 1) {
    return [{ type: 'bind', source: contentPath(directory, nearest), options: ['ro', 'rbind'] }];
  }
  const upper = active ? [`workdir=${workPath(directory, id)}`, `upperdir=${contentPath(directory, id)}`] : [];
  const lower = parents.map((parent) => contentPath(directory, parent)).join(':');
  return [{ type: 'overlay', source: 'overlay', options: [...upper, `lowerdir=${lower}`, ...overlayOptions] }];
}

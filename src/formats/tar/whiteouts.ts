import type { ByteString, IndexEntry } from '../layer-index.ts';
import type { TreeNode } from '../tree-node.ts';

/**
 * Translates whiteouts. In tar layers they are files with special names (opencontainers/image-spec, layer.md,
 * "Whiteouts"). For overlayfs they become a character device 0:0 in place of a lower file, and an attribute of a
 * directory that hides everything below it.
 */
const prefix = '.wh.';
const metaPrefix = '.wh..wh.';
const opaqueName = '.wh..wh..opq';

const opaqueXattr = 'trusted.overlay.opaque';

/** Whether a name does not belong to a file, but marks others. */
export function isWhiteoutName(name: ByteString): boolean {
  return name.charCodeAt(0) === 0x2e && name.startsWith(prefix);
}

/**
 * Replaces the whiteout names in a directory by their meaning. A file of the layer itself wins over the whiteout of its
 * name.
 */
export function applyWhiteouts(directory: TreeNode): void {
  const { children } = directory;
  if (children === undefined) return;
  const marks = [...children].filter(([name]) => isWhiteoutName(name));
  for (const [name, node] of marks) {
    children.delete(name);
    const hidden = name.slice(prefix.length);
    if (name === opaqueName) directory.entry = opaque(directory.entry);
    else if (isFileName(hidden) && !name.startsWith(metaPrefix) && !children.has(hidden)) {
      children.set(hidden, { entry: whiteoutOf(node.entry), links: 0, children: undefined });
    }
  }
}

function isFileName(name: ByteString): boolean {
  return name !== '' && name !== '.' && name !== '..';
}

function opaque(entry: IndexEntry): IndexEntry {
  return { ...entry, xattrs: new Map([...(entry.xattrs ?? []), [opaqueXattr, Buffer.from('y')]]) };
}

function whiteoutOf(entry: IndexEntry): IndexEntry {
  return {
    ...entry,
    type: 'char',
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    linkTarget: '',
    devMajor: 0,
    devMinor: 0,
    xattrs: undefined,
    chunkCount: 0,
  };
}

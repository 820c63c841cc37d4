import { LazypullError } from '../../errors.ts';
import type { ByteString } from '../../formats/layer-index.ts';
import type { TreeNode } from '../../formats/tree-node.ts';
import { type DirectoryTarget, directoryBytes } from './directory.ts';
import { inodeBytes, type InodeLayout, noBlock } from './inode.ts';
import { blockBytes, firstInodeOffset, inodeSlotBytes } from './superblock.ts';
import { encodeXattrs } from './xattr.ts';

/** Bounds the metadata of a hostile layer: a real one has some 150 bytes a file. */
export const maxMetadataBytes = 160 * 1024 * 1024;

/** An inode with its place in the image. */
export interface PlacedInode extends DirectoryTarget {
  readonly node: TreeNode;
  readonly parent: PlacedInode;
  readonly xattrs: Uint8Array;
  /** Length of the content in bytes. */
  readonly size: number;
  /** For a directory: its names in the order of their bytes, with `.` and `..`, and the inode of each. */
  readonly names: readonly ByteString[];
  readonly targets: readonly PlacedInode[];
  /** The offset of the inode, in bytes. */
  offset: number;
  layout: InodeLayout;
  /** The first block of the content, or `noBlock`. `placeData` sets it for regular files. */
  block: number;
}

/** Inodes, the root first, and the size of inodes, directories and symlinks in bytes: a whole number of blocks. */
export interface Layout {
  readonly inodes: readonly PlacedInode[];
  readonly metadataBytes: number;
}

/**
 * Places everything except the data of regular files. Inodes come after the superblock, each with its attributes and,
 * if it fits, the last part of its content. From the next block on follows the other content of directories and
 * symlinks.
 *
 * @throws ResourceExhausted for a tree whose metadata is too large
 */
export function layOut(root: TreeNode): Layout {
  const inodes = collect(root);
  let offset = firstInodeOffset;
  for (const inode of inodes) {
    placeInode(inode, offset);
    offset = inode.offset + occupied(inode);
  }
  let block = Math.ceil(offset / blockBytes);
  for (const inode of inodes) {
    if (inode.node.entry.type === 'reg') continue;
    const blocks = inode.layout === 'inline' ? Math.floor(inode.size / blockBytes) : Math.ceil(inode.size / blockBytes);
    if (blocks === 0) continue;
    inode.block = block;
    block += blocks;
  }
  const metadataBytes = block * blockBytes;
  if (metadataBytes > maxMetadataBytes) {
    throw new LazypullError('ResourceExhausted', `The layer's metadata would take ${metadataBytes} bytes`);
  }
  return { inodes, metadataBytes };
}

/** Every inode once, directories before their content and the files of one directory together. */
function collect(root: TreeNode): PlacedInode[] {
  const inodes: PlacedInode[] = [];
  const linked = new Map<TreeNode, PlacedInode>();
  const add = (node: TreeNode, parent: PlacedInode | undefined): PlacedInode => {
    const inode = newInode(node, parent);
    inodes.push(inode);
    return inode;
  };
  add(root, undefined);
  for (let i = 0; i < inodes.length; i++) {
    const directory = inodes[i]!;
    const { children } = directory.node;
    if (children === undefined) continue;
    const targets = directory.targets as PlacedInode[];
    for (const name of directory.names) {
      const node = children.get(name);
      if (node === undefined) {
        targets.push(name === '.' ? directory : directory.parent);
        continue;
      }
      let inode = node.links > 1 && node.children === undefined ? linked.get(node) : undefined;
      if (inode === undefined) {
        inode = add(node, directory);
        if (node.links > 1 && node.children === undefined) linked.set(node, inode);
      }
      targets.push(inode);
    }
  }
  return inodes;
}

const none: never[] = [];

function newInode(node: TreeNode, parent: PlacedInode | undefined): PlacedInode {
  const { entry, children } = node;
  const names = children === undefined ? none : namesOf(children);
  const inode = {
    node,
    type: entry.type,
    parent: parent as PlacedInode,
    xattrs: encodeXattrs(entry),
    size: children === undefined ? entry.linkTarget.length + entry.size : directoryBytes(names),
    names,
    targets: children === undefined ? none : [],
    offset: 0,
    layout: 'plain' as InodeLayout,
    block: noBlock,
  };
  if (parent === undefined) inode.parent = inode;
  return inode;
}

function namesOf(children: ReadonlyMap<ByteString, TreeNode>): readonly ByteString[] {
  return children.size === 0 ? ownNames : [...ownNames, ...children.keys()].sort();
}

const ownNames: readonly ByteString[] = ['.', '..'];

/**
 * Places an inode at `from` or soon after. The last part of its content comes right after it if both fit into one
 * block: kernels do not want that part to cross a block's end, and old ones count from the inode's start.
 */
function placeInode(inode: PlacedInode, from: number): void {
  const tail = inode.node.entry.type === 'reg' ? 0 : inode.size % blockBytes;
  const head = inodeBytes + inode.xattrs.length;
  const inline = tail > 0 && head + tail <= blockBytes;
  const together = inline ? head + tail : inodeBytes;
  const offset = Math.ceil(from / inodeSlotBytes) * inodeSlotBytes;
  const left = blockBytes - (offset % blockBytes);
  inode.offset = together <= left ? offset : offset + left;
  inode.layout = inline ? 'inline' : 'plain';
}

function occupied(inode: PlacedInode): number {
  const tail = inode.layout === 'inline' ? inode.size % blockBytes : 0;
  return inodeBytes + inode.xattrs.length + tail;
}

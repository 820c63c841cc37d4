import { emptyDirectory } from '../../formats/tree.ts';
import { directoryBytes, writeDirectory } from './directory.ts';
import { inodeBytes, noBlock, writeInode } from './inode.ts';
import { treeName } from '../front.ts';
import { inodeSlotBytes, moveRoot, rootOffsetOf, superblockOffset } from './superblock.ts';

const names = ['.', '..', treeName];

/** In front of the superblock, where no image of ours has anything. */
const ownRoot = inodeSlotBytes;
const ownDirectory = ownRoot + inodeBytes;
const treeTarget = ownDirectory + 2 * 12;

/**
 * Makes of the first block of a bare image, whose root is the layer's tree, that of an image as `planDisk` makes it,
 * whose root has the tree in a directory. All else of the image is as it was.
 */
export function wrapTree(block: Buffer): void {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  const tree = { type: 'dir', offset: rootOffsetOf(block) } as const;
  const root = { type: 'dir', offset: ownRoot } as const;
  const { entry } = emptyDirectory();
  const size = directoryBytes(names);
  writeInode(view, ownRoot, { entry, links: 3, layout: 'inline', size, block: noBlock, xattrBytes: 0, serial: 1 });
  writeDirectory(block, view, names, [root, root, tree], () => ownDirectory);
  moveRoot(block, ownRoot);
}

/** Undoes `wrapTree`. */
export function unwrapTree(block: Buffer): void {
  const tree = block.readUInt32LE(treeTarget) * inodeSlotBytes;
  block.fill(0, 0, superblockOffset);
  moveRoot(block, tree);
}

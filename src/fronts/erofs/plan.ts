import { type Digest, hexOf } from '../../chunks/digest.ts';
import type { LayerTree } from '../../formats/tree.ts';
import { around, type DiskPlan, type PlanOptions } from '../front.ts';
import { placeData, placeWritten } from './data.ts';
import { writeDirectory } from './directory.ts';
import { inodeBytes, writeInode } from './inode.ts';
import { layOut, type PlacedInode } from './layout.ts';
import { blockBytes, writeSuperblock } from './superblock.ts';

/**
 * Plans an uncompressed EROFS image of a layer that Linux 5.4 and later mount. The same tree and digest give the same
 * bytes. Format: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of Linux.
 *
 * @param options `digest`: the layer's, `sha256:<hex>`, which determines the volume's UUID; `written`: the places of
 * all files' data, if it is on the disk already
 * @throws ResourceExhausted if it does not fit into such an image; FailedPrecondition for a device that Linux cannot
 * have
 */
export function planDisk(tree: LayerTree, { digest, written }: PlanOptions): DiskPlan {
  const uuid = uuidOf(digest);
  const { inodes, metadataBytes } = layOut(around(tree.root));
  const data =
    written === undefined
      ? placeData(inodes, tree.chunks, metadataBytes)
      : placeWritten(inodes, tree.chunks, metadataBytes, written);

  const disk = Buffer.alloc(metadataBytes);
  const view = new DataView(disk.buffer, disk.byteOffset, disk.length);
  for (let i = 0; i < inodes.length; i++) writePlaced(disk, view, inodes[i]!, i + 1);
  writeSuperblock(disk, {
    rootOffset: inodes[0]!.offset,
    inodes: inodes.length,
    uuid,
  });
  return { metadata: disk, ...data };
}

function uuidOf(digest: Digest): Uint8Array {
  return Buffer.from(hexOf(digest, 'layer digest').slice(0, 32), 'hex');
}

function writePlaced(disk: Buffer, view: DataView, placed: PlacedInode, serial: number): void {
  const { node, offset, layout, size, block, xattrs } = placed;
  const { entry, links } = node;
  writeInode(view, offset, { entry, links, layout, size, block, xattrBytes: xattrs.length, serial });
  disk.set(xattrs, offset + inodeBytes);
  const tail = offset + inodeBytes + xattrs.length;
  const tailBlock = layout === 'inline' ? Math.floor(size / blockBytes) : -1;
  const place = (index: number) => (index === tailBlock ? tail : (block + index) * blockBytes);
  if (entry.type === 'symlink') disk.write(entry.linkTarget, place(0), 'latin1');
  else if (entry.type === 'dir') writeDirectory(disk, view, placed.names, placed.targets, place);
}

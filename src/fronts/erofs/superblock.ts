import { crc32c } from './crc32c.ts';

/** One block, the unit of addresses in the image; old kernels take no other size. */
export const blockBytes = 4096;

/** The offset of the superblock, and of the first possible inode. */
export const superblockOffset = 1024;
export const firstInodeOffset = superblockOffset + 128;

/** An inode's number counts slots of 32 bytes from the start of the image. */
export const inodeSlotBytes = 32;

/** Where the checksum and the root are in the superblock. */
const checksumAt = 4;
const rootAt = 14;

const magic = 0xe0f5e1e2;
/** The features: the superblock has a checksum, inodes have their own times. Kernels that know neither ignore them. */
const compatibleFeatures = 0x1 | 0x2;

export interface Superblock {
  rootOffset: number;
  inodes: number;
  /** 16 bytes. */
  uuid: Uint8Array;
}

/**
 * Writes the superblock of an uncompressed image with inodes counted from the image's start, as Linux 5.4 and later
 * mount it (fs/erofs/erofs_fs.h, struct erofs_super_block). The count of blocks stays 0. The kernel only passes it on
 * to statfs(2), beside 0 free blocks, which would make each layer a full disk to `df` and to monitoring; both leave out
 * a file system without blocks. The rest of the first block must be there already: the checksum includes it.
 */
export function writeSuperblock(disk: Uint8Array, { rootOffset, inodes, uuid }: Superblock): void {
  const view = new DataView(disk.buffer, disk.byteOffset + superblockOffset, 128);
  view.setUint32(0, magic, true);
  view.setUint32(8, compatibleFeatures, true);
  view.setUint8(12, Math.log2(blockBytes));
  view.setUint16(rootAt, rootOffset / inodeSlotBytes, true);
  view.setUint32(16, inodes, true);
  disk.set(uuid.subarray(0, 16), superblockOffset + 48);
  view.setUint32(checksumAt, crc32c(disk.subarray(superblockOffset, blockBytes)), true);
}

/** Where the root's inode is, by the superblock in the first block of a disk. */
export function rootOffsetOf(block: Buffer): number {
  return block.readUInt16LE(superblockOffset + rootAt) * inodeSlotBytes;
}

/** Makes the inode at `rootOffset` the root. All else of the first block is as it is to be. */
export function moveRoot(block: Buffer, rootOffset: number): void {
  block.writeUInt16LE(rootOffset / inodeSlotBytes, superblockOffset + rootAt);
  block.writeUInt32LE(0, superblockOffset + checksumAt);
  block.writeUInt32LE(crc32c(block.subarray(superblockOffset, blockBytes)), superblockOffset + checksumAt);
}

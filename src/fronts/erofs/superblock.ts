import { crc32c } from './crc32c.ts';

/** One block, the unit of addresses on the disk; old kernels take no other size. */
export const blockBytes = 4096;

/** Where the superblock starts, and where the first inode may. */
const superblockOffset = 1024;
export const firstInodeOffset = superblockOffset + 128;

/** An inode's number counts slots of 32 bytes from the start of the disk. */
export const inodeSlotBytes = 32;

const magic = 0xe0f5e1e2;
/** The features say: the superblock has a checksum, inodes have their own times. Kernels that know neither ignore them. */
const compatibleFeatures = 0x1 | 0x2;

export interface Superblock {
  rootOffset: number;
  inodes: number;
  /** 16 bytes. */
  uuid: Uint8Array;
}

/**
 * Writes the superblock of an uncompressed image with inodes counted from the disk's start, as Linux 5.4 and later mount it
 * (fs/erofs/erofs_fs.h, struct erofs_super_block). The count of blocks stays 0: the kernel only passes it on to statfs(2), beside 0 free ones, where it would make
 * each layer a full disk to `df` and to monitoring; a file system without blocks is left out by both. The rest of the first block must be there already: the checksum is over it too.
 */
export function writeSuperblock(disk: Uint8Array, { rootOffset, inodes, uuid }: Superblock): void {
  const view = new DataView(disk.buffer, disk.byteOffset + superblockOffset, 128);
  view.setUint32(0, magic, true);
  view.setUint32(8, compatibleFeatures, true);
  view.setUint8(12, Math.log2(blockBytes));
  view.setUint16(14, rootOffset / inodeSlotBytes, true);
  view.setUint32(16, inodes, true);
  disk.set(uuid.subarray(0, 16), superblockOffset + 48);
  view.setUint32(4, crc32c(disk.subarray(superblockOffset, blockBytes)), true);
}

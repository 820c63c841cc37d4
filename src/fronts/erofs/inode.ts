import { LazypullError } from '../../errors.ts';
import type { EntryType, IndexEntry } from '../../formats/layer-index.ts';

/** Every inode is an extended one: only these have their own times, and 32 bits for owners and link counts. */
export const inodeBytes = 64;

/** The place of an inode's content: in blocks of its own, or with its last part right after the inode. */
export type InodeLayout = 'plain' | 'inline';

/** The block number of an inode without blocks. */
export const noBlock = 0xffff_ffff;

export interface Inode {
  entry: IndexEntry;
  links: number;
  layout: InodeLayout;
  /** Length of the content in bytes. */
  size: number;
  /** First block of the content, or `noBlock`. */
  block: number;
  /** Bytes of the attributes after the inode: 0, or 12 and more. */
  xattrBytes: number;
  /** For stat(2) of 32-bit programs: unique, from 1. */
  serial: number;
}

/** Writes an inode at `at` (fs/erofs/erofs_fs.h, struct erofs_inode_extended). Bytes that are 0 are not written. */
export function writeInode(view: DataView, at: number, inode: Inode): void {
  const { entry, xattrBytes } = inode;
  view.setUint16(at, 1 | (layouts[inode.layout] << 1), true);
  view.setUint16(at + 2, xattrBytes === 0 ? 0 : (xattrBytes - 12) / 4 + 1, true);
  view.setUint16(at + 4, fileTypes[entry.type] | (entry.type === 'symlink' ? symlinkMode : entry.mode), true);
  setUint64(view, at + 8, inode.size);
  view.setUint32(at + 16, specialWord(entry) ?? inode.block, true);
  view.setUint32(at + 20, inode.serial, true);
  view.setUint32(at + 24, entry.uid, true);
  view.setUint32(at + 28, entry.gid, true);
  setUint64(view, at + 32, entry.mtimeSeconds);
  view.setUint32(at + 40, entry.mtimeNanoseconds, true);
  view.setUint32(at + 44, inode.links, true);
}

const layouts: Readonly<Record<InodeLayout, number>> = { plain: 0, inline: 2 };

/** The file type bits of st_mode. */
const fileTypes: Readonly<Record<EntryType, number>> = {
  reg: 0o100000,
  dir: 0o040000,
  symlink: 0o120000,
  hardlink: 0,
  char: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
};

/** Linux has no other mode, whatever a tar says. */
const symlinkMode = 0o777;

/**
 * The value in place of the block number: a device's number in the kernel's encoding (new_encode_dev), 0 for a FIFO.
 */
function specialWord({ type, devMajor, devMinor, path }: IndexEntry): number | undefined {
  if (type === 'fifo') return 0;
  if (type !== 'char' && type !== 'block') return undefined;
  if (devMajor > 0xfff || devMinor > 0xf_ffff) {
    throw new LazypullError(
      'FailedPrecondition',
      `The device "${path}" has the number ${devMajor}:${devMinor}, which Linux does not support`,
    );
  }
  return ((devMinor & 0xff) | (devMajor << 8) | ((devMinor & ~0xff) << 12)) >>> 0;
}

/** Writes an integer in two's complement; exact up to ±2^53. */
function setUint64(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  view.setUint32(at, value - high * 2 ** 32, true);
  view.setInt32(at + 4, high, true);
}

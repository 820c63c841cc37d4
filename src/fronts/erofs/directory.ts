import type { ByteString, EntryType } from '../../formats/layer-index.ts';
import { blockBytes, inodeSlotBytes } from './superblock.ts';

const direntBytes = 12;

/** The inode of a name. */
export interface DirectoryTarget {
  readonly type: EntryType;
  /** Its offset in the image, in bytes. */
  readonly offset: number;
}

/** The length in bytes of a directory with the names in this order, as `writeDirectory` writes it. */
export function directoryBytes(names: Iterable<ByteString>): number {
  let blocks = 0;
  let used = 0;
  for (const name of names) {
    const bytes = direntBytes + name.length;
    if (used + bytes > blockBytes) {
      blocks++;
      used = 0;
    }
    used += bytes;
  }
  return blocks * blockBytes + used;
}

/**
 * Writes a directory: blocks of fixed-size entries followed by their names (fs/erofs/erofs_fs.h, struct erofs_dirent).
 *
 * @param names the names, with `.` and `..`, in the order of their bytes
 * @param targets the inode of each
 * @param place where a block of the directory goes, as an offset in `disk`; the block has at most 4096 bytes
 */
export function writeDirectory(
  disk: Buffer,
  view: DataView,
  names: readonly ByteString[],
  targets: readonly DirectoryTarget[],
  place: (block: number) => number,
): void {
  for (let first = 0, block = 0; first < names.length; block++) {
    let last = first;
    for (let used = 0; last < names.length; last++) {
      used += direntBytes + names[last]!.length;
      if (used > blockBytes) break;
    }
    const start = place(block);
    let nameOffset = (last - first) * direntBytes;
    for (let i = first; i < last; i++) {
      const at = start + (i - first) * direntBytes;
      const { offset, type } = targets[i]!;
      view.setUint32(at, offset / inodeSlotBytes, true);
      view.setUint16(at + 8, nameOffset, true);
      view.setUint8(at + 10, direntTypes[type]);
      disk.write(names[i]!, start + nameOffset, 'latin1');
      nameOffset += names[i]!.length;
    }
    first = last;
  }
}

const direntTypes: Readonly<Record<EntryType, number>> = {
  reg: 1,
  dir: 2,
  char: 3,
  block: 4,
  fifo: 5,
  symlink: 7,
  hardlink: 0,
};

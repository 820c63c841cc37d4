import type { ByteString, EntryType } from '../formats/layer-index.ts';
import { blockBytes } from './superblock.ts';

const direntBytes = 12;

/** A name in a directory, and the inode it stands for. `number` is known when all inodes have their places. */
export interface DirectoryEntry {
  name: ByteString;
  type: EntryType;
  number: number;
}

/** The length in bytes of the directory that has the names in this order, as `writeDirectory` writes it. */
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
 * @param place where a block of the directory goes, as an offset in `disk`; the block has at most 4096 bytes
 * @param entries `.` and `..` too, in the order of the names' bytes
 */
export function writeDirectory(
  disk: Buffer,
  view: DataView,
  entries: readonly DirectoryEntry[],
  place: (block: number) => number,
): void {
  for (let first = 0, block = 0; first < entries.length; block++) {
    let last = first;
    let used = 0;
    while (last < entries.length && used + direntBytes + entries[last]!.name.length <= blockBytes) {
      used += direntBytes + entries[last]!.name.length;
      last++;
    }
    const start = place(block);
    let nameOffset = (last - first) * direntBytes;
    for (let i = first; i < last; i++) {
      const { name, number, type } = entries[i]!;
      const at = start + (i - first) * direntBytes;
      view.setUint32(at, number, true);
      view.setUint16(at + 8, nameOffset, true);
      view.setUint8(at + 10, direntTypes[type]);
      disk.write(name, start + nameOffset, 'latin1');
      nameOffset += name.length;
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

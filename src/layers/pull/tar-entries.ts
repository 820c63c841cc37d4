import { LazypullError } from '../../errors.ts';
import type { IndexEntry } from '../../formats/layer-index.ts';
import { maxTextBytes, xattrOverheadBytes } from '../../formats/limits.ts';
import { cleanPath } from '../../formats/paths.ts';
import type { TarEntry } from '../../formats/tar/entry.ts';
import { maxEntries } from './pull-bounds.ts';

/** The entries of a tar, kept until its end. */
export class Entries {
  readonly list: IndexEntry[] = [];
  #textBytes = 0;

  /**
   * Adds an entry whose data is still to come. @throws ResourceExhausted for too many entries, or too many bytes of
   * names and attributes
   */
  add(tar: TarEntry, firstChunk: number): IndexEntry {
    const entry: IndexEntry = {
      path: tar.path,
      type: tar.type,
      mode: tar.mode,
      uid: tar.uid,
      gid: tar.gid,
      mtimeSeconds: tar.mtimeSeconds,
      mtimeNanoseconds: tar.mtimeNanoseconds,
      size: tar.size,
      linkTarget: tar.linkTarget,
      devMajor: tar.devMajor,
      devMinor: tar.devMinor,
      xattrs: tar.xattrs,
      firstChunk,
      chunkCount: 0,
    };
    if (this.list.push(entry) > maxEntries) {
      throw new LazypullError('ResourceExhausted', `The layer has more than ${maxEntries} entries`);
    }
    this.#textBytes += textBytesOf(entry);
    if (this.#textBytes <= maxTextBytes) return entry;
    throw new LazypullError(
      'ResourceExhausted',
      `The layer has more than ${maxTextBytes} bytes of names and attributes`,
    );
  }
}

function textBytesOf({ path, linkTarget, xattrs }: IndexEntry): number {
  let bytes = path.length + linkTarget.length;
  for (const [name, value] of xattrs ?? []) bytes += name.length + value.length + xattrOverheadBytes;
  return bytes;
}

/** Whether unpacking ignores an entry: it describes the root as something that is not a directory. */
export function isPassedOver({ path, type }: TarEntry): boolean {
  return type !== 'dir' && cleanPath(path) === '';
}

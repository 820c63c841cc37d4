import { hash } from 'node:crypto';
import { constants, gunzipSync } from 'node:zlib';
import type { DiskPlan } from '../../src/fronts/front.ts';
import { treeName } from '../../src/fronts/front.ts';

/** The whole image that a plan is of, its data taken from the blob; each chunk's digest is checked. */
export function imageOf(plan: DiskPlan, blob: Buffer): Buffer {
  const image = Buffer.alloc(plan.diskBytes);
  image.set(plan.metadata);
  const { diskOffset, size, streamOffset, streamEnd, innerOffset, digest, length } = plan.chunks;
  for (let row = 0; row < length; row++) {
    const stream = gunzipSync(blob.subarray(streamOffset[row], streamEnd[row]), {
      finishFlush: constants.Z_SYNC_FLUSH,
    });
    const chunk = stream.subarray(innerOffset[row], innerOffset[row]! + size[row]!);
    const expected = Buffer.from(digest.subarray(row * 32, row * 32 + 32)).toString('hex');
    if (hash('sha256', chunk) !== expected) throw new Error(`Chunk ${row} is not what its digest says`);
    image.set(chunk, diskOffset[row]);
  }
  return image;
}

/** What an image says about one of its paths. */
export interface ImageEntry {
  ino: number;
  mode: number;
  links: number;
  uid: number;
  gid: number;
  mtimeSeconds: bigint;
  mtimeNanoseconds: number;
  size: number;
  rdev: number;
  content: Buffer;
  xattrs: Record<string, string>;
}

/**
 * Reads an uncompressed EROFS image as the kernel does: every path below the root of the layer ('') with its inode.
 * Names are latin1.
 */
export function readImage(image: Buffer): Map<string, ImageEntry> {
  const entries = new Map<string, ImageEntry>();
  const outer = image.readUInt16LE(1024 + 14);
  const [tree, ...others] = readDirents(readInode(image, outer).content).filter(({ name }) => !/^\.+$/.test(name));
  if (tree?.name !== treeName || others.length > 0) throw new Error(`The image does not have only a "${treeName}"`);
  const queue: [string, number, number][] = [['', tree.nid, outer]];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const [path, ino, parent] = next;
    const entry = readInode(image, ino);
    entries.set(path, entry);
    if ((entry.mode & 0o170000) !== 0o040000) continue;
    const dirents = readDirents(entry.content);
    const names = dirents.map(({ name }) => name);
    if (names.some((name, i) => i > 0 && names[i - 1]! >= name)) throw new Error(`"${path}" is not sorted`);
    for (const { name, nid, type } of dirents) {
      if (name === '.' && nid !== ino) throw new Error(`"." of "${path}" is another directory`);
      if (name === '..' && nid !== parent) throw new Error(`".." of "${path}" is wrong`);
      if (name === '.' || name === '..') continue;
      if (type !== direntType(readInode(image, nid).mode)) throw new Error(`"${name}" has the wrong type`);
      queue.push([path === '' ? name : `${path}/${name}`, nid, ino]);
    }
  }
  return entries;
}

function readInode(image: Buffer, ino: number): ImageEntry {
  const at = ino * 32;
  const format = image.readUInt16LE(at);
  if ((format & 1) !== 1) throw new Error(`Inode ${ino} is compact`);
  if (at % 4096 > 4096 - 64) throw new Error(`Inode ${ino} crosses a block`);
  const layout = format >> 1;
  const xattrWords = image.readUInt16LE(at + 2);
  const xattrBytes = xattrWords === 0 ? 0 : 12 + 4 * (xattrWords - 1);
  const size = Number(image.readBigUInt64LE(at + 8));
  const word = image.readUInt32LE(at + 16);
  const blocks = word === 0xffffffff ? Buffer.alloc(0) : image.subarray(word * 4096);
  const mode = image.readUInt16LE(at + 4);
  const tailAt = at + 64 + xattrBytes;
  const tail = image.subarray(tailAt, tailAt + (size % 4096));
  if (layout === 2 && Math.floor(at / 4096) !== Math.floor((tailAt + tail.length - 1) / 4096)) {
    throw new Error(`The tail of inode ${ino} crosses a block`);
  }
  const whole = layout === 2 ? Buffer.concat([blocks.subarray(0, size - tail.length), tail]) : blocks.subarray(0, size);
  const isDevice = [0o020000, 0o060000].includes(mode & 0o170000);
  return {
    ino,
    mode,
    links: image.readUInt32LE(at + 44),
    uid: image.readUInt32LE(at + 24),
    gid: image.readUInt32LE(at + 28),
    mtimeSeconds: image.readBigInt64LE(at + 32),
    mtimeNanoseconds: image.readUInt32LE(at + 40),
    size,
    rdev: isDevice ? word : 0,
    content: isDevice ? Buffer.alloc(0) : whole,
    xattrs: readXattrs(image.subarray(at + 64, at + 64 + xattrBytes)),
  };
}

const prefixes: Readonly<Record<number, string>> = {
  1: 'user.',
  2: 'system.posix_acl_access',
  3: 'system.posix_acl_default',
  4: 'trusted.',
  6: 'security.',
};

function readXattrs(body: Buffer): Record<string, string> {
  const xattrs: Record<string, string> = {};
  for (let at = 12; at < body.length; ) {
    const nameEnd = at + 4 + body.readUInt8(at);
    const valueEnd = nameEnd + body.readUInt16LE(at + 2);
    const name = prefixes[body.readUInt8(at + 1)] + body.toString('latin1', at + 4, nameEnd);
    xattrs[name] = body.toString('hex', nameEnd, valueEnd);
    at = Math.ceil(valueEnd / 4) * 4;
  }
  return xattrs;
}

function readDirents(content: Buffer): { name: string; nid: number; type: number }[] {
  const dirents: { name: string; nid: number; type: number }[] = [];
  for (let start = 0; start < content.length; start += 4096) {
    const block = content.subarray(start, start + 4096);
    const count = block.readUInt16LE(8) / 12;
    for (let i = 0; i < count; i++) {
      const nameAt = block.readUInt16LE(i * 12 + 8);
      const nameEnd = i + 1 < count ? block.readUInt16LE(i * 12 + 20) : block.length;
      const name = block.toString('latin1', nameAt, nameEnd).replace(/\0+$/, '');
      dirents.push({ name, nid: Number(block.readBigUInt64LE(i * 12)), type: block.readUInt8(i * 12 + 10) });
    }
  }
  return dirents;
}

function direntType(mode: number): number | undefined {
  const types = new Map([
    [0o100000, 1],
    [0o040000, 2],
    [0o020000, 3],
    [0o060000, 4],
    [0o010000, 5],
    [0o120000, 7],
  ]);
  return types.get(mode & 0o170000);
}

import { type ChunkTable, chunkTable } from '../../src/chunks/chunk-table.ts';
import { LazypullError } from '../../src/errors.ts';
import type { ChunkColumns } from '../../src/formats/chunk-columns.ts';
import type { TreeNode } from '../../src/formats/tree-node.ts';
import { around, type Front } from '../../src/fronts/front.ts';

/*
 * A front that lazypull does not have: an ext4 image of directories and regular files, in one block group
 * (Documentation/filesystems/ext4 of Linux). It knows nothing but the seam, `Front`; worker threads get it as a module.
 */

const blockBytes = 4096;
const inodeBytes = 128;
const blocksPerGroup = 8 * blockBytes;
/** Inodes before this are reserved, but for the root's. */
const firstInode = 11;
const rootInode = 2;
const inodeTableBlock = 4;
const extentsFlag = 0x80000;

interface Inode {
  readonly number: number;
  readonly node: TreeNode;
  readonly parent: number;
  readonly path: string;
  /** Bytes of the content, and the block where that begins. */
  readonly size: number;
  block: number;
}

const toy: Front = {
  name: 'toy',
  fileSystem: { type: 'ext4', isOnDevice: true },
  blockBytes,
  maxMetadataBytes: 16 << 20,
  plan({ root, chunks: source }) {
    const inodes = inodesOf(around(root));
    const count = Math.ceil((firstInode + inodes.length) / 32) * 32;
    let block = inodeTableBlock + (count * inodeBytes) / blockBytes;
    const place = (inode: Inode): void => {
      inode.block = block;
      block += Math.ceil(inode.size / blockBytes);
    };
    for (const inode of inodes) if (inode.node.children !== undefined) place(inode);
    const metadata = Buffer.alloc(block * blockBytes);
    const files = inodes.filter(({ size, node }) => node.children === undefined && size > 0);
    const startOf = ({ node }: Inode): number => source.streamOffset[node.entry.firstChunk]!;
    files.sort((a, b) => startOf(a) - startOf(b));
    for (const file of files) place(file);
    if (block > blocksPerGroup) throw new LazypullError('ResourceExhausted', 'A toy has one block group');

    for (const inode of inodes) writeInode(metadata, inode);
    for (const inode of inodes) if (inode.node.children !== undefined) writeDirectory(metadata, inode, inodes);
    metadata.fill(0xff, 2 * blockBytes, inodeTableBlock * blockBytes); // all blocks and inodes are in use
    writeSuperblock(metadata, block, count);
    const paths = files.map(({ path }) => path);
    return { metadata, diskBytes: block * blockBytes, ...chunksOf(files, source), paths };
  },
};
export default toy;

function inodesOf(root: TreeNode): Inode[] {
  const inodes: Inode[] = [];
  const add = (node: TreeNode, parent: number, path: string): void => {
    const { type, size } = node.entry;
    if (type !== 'dir' && type !== 'reg') throw new LazypullError('FailedPrecondition', `A toy shows no ${type}`);
    const number = inodes.length === 0 ? rootInode : firstInode + inodes.length - 1;
    const inode = { number, node, parent, path, size: node.children === undefined ? size : blockBytes, block: 0 };
    inodes.push(inode);
    for (const [name, child] of node.children ?? []) add(child, number, path === '' ? name : `${path}/${name}`);
  };
  add(root, rootInode, '');
  return inodes;
}

function writeInode(disk: Buffer, { number, node: { entry, children, links }, size, block }: Inode): void {
  const at = inodeTableBlock * blockBytes + (number - 1) * inodeBytes;
  const blocks = Math.ceil(size / blockBytes);
  disk.writeUInt16LE(entry.mode | (children === undefined ? 0o100000 : 0o040000), at);
  disk.writeUInt32LE(size, at + 4);
  disk.writeUInt16LE(links, at + 26);
  disk.writeUInt32LE(blocks * (blockBytes / 512), at + 28);
  disk.writeUInt32LE(extentsFlag, at + 32);
  disk.writeUInt16LE(0xf30a, at + 40);
  disk.writeUInt16LE(blocks === 0 ? 0 : 1, at + 42); // extents
  disk.writeUInt16LE(4, at + 44); // and room for so many
  disk.writeUInt16LE(blocks, at + 56);
  disk.writeUInt32LE(block, at + 60);
}

function writeDirectory(disk: Buffer, directory: Inode, inodes: readonly Inode[]): void {
  const byNode = new Map(inodes.map((inode) => [inode.node, inode.number]));
  const names: [string, number, TreeNode][] = [
    ['.', directory.number, directory.node],
    ['..', directory.parent, directory.node],
    ...[...directory.node.children!].map(([name, node]): [string, number, TreeNode] => [name, byNode.get(node)!, node]),
  ];
  let at = directory.block * blockBytes;
  const end = at + blockBytes;
  for (const [i, [name, number, node]] of names.entries()) {
    const length = 8 + Math.ceil(name.length / 4) * 4;
    if (at + length > end) throw new LazypullError('ResourceExhausted', 'A toy has small directories');
    disk.writeUInt32LE(number, at);
    disk.writeUInt16LE(i + 1 < names.length ? length : end - at, at + 4);
    disk[at + 6] = name.length;
    disk[at + 7] = node.children === undefined ? 1 : 2;
    disk.write(name, at + 8, 'latin1');
    at += length;
  }
}

function writeSuperblock(disk: Buffer, blocks: number, inodes: number): void {
  for (const [at, value] of [
    [0, inodes],
    [4, blocks],
    [24, 2], // blocks of 1024 << 2
    [28, 2],
    [32, blocksPerGroup],
    [36, blocksPerGroup],
    [40, inodes],
    [76, 1], // the revision, which has what follows
    [84, firstInode],
    [96, 0x42], // directory entries have types, files have extents
  ] as const) {
    disk.writeUInt32LE(value, 1024 + at);
  }
  disk.writeUInt16LE(0xef53, 1024 + 56);
  disk.writeUInt16LE(1, 1024 + 58); // it was unmounted as it should be
  disk.writeUInt16LE(inodeBytes, 1024 + 88);
  for (const [i, block] of [2, 3, inodeTableBlock].entries()) disk.writeUInt32LE(block, blockBytes + i * 4);
}

function chunksOf(
  files: readonly Inode[],
  source: ChunkColumns,
): { readonly chunks: ChunkTable; readonly firstChunks: Uint32Array } {
  const count = files.reduce((sum, { node }) => sum + node.entry.chunkCount, 0);
  const chunks = chunkTable(undefined, count);
  const firstChunks = new Uint32Array(files.length);
  let to = 0;
  for (const [i, { node, block }] of files.entries()) {
    const { firstChunk, chunkCount } = node.entry;
    firstChunks[i] = to;
    let offset = block * blockBytes;
    for (let from = firstChunk; from < firstChunk + chunkCount; from++, to++) {
      chunks.diskOffset[to] = offset;
      for (const column of ['size', 'streamOffset', 'streamEnd', 'innerOffset'] as const) {
        chunks[column][to] = source[column][from]!;
      }
      chunks.digest.set(source.digest.subarray(from * 32, from * 32 + 32), to * 32);
      offset += source.size[from]!;
    }
  }
  return { chunks, firstChunks };
}

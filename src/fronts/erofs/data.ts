import { LazypullError } from '../../errors.ts';
import type { ChunkColumns } from '../../formats/chunk-columns.ts';
import type { ByteString } from '../../formats/layer-index.ts';
import { type ChunkTable, chunkTable } from '../../chunks/chunk-table.ts';
import type { PlacedInode } from './layout.ts';
import { blockBytes } from './superblock.ts';

/** Block numbers have 32 bits, and the last one means none. */
const maxBlocks = 0xffff_fffe;

/** The data area of a disk. */
export interface DataArea {
  readonly chunks: ChunkTable;
  readonly diskBytes: number;
  /** The first row of each file, ascending, and the file's path as its publisher wrote it. */
  readonly firstChunks: Uint32Array;
  readonly paths: readonly ByteString[];
}

/**
 * Places the data of regular files from byte `start` on, in the order in which their first chunks lie in the blob, and sets the blocks of their
 * inodes.
 *
 * @throws ResourceExhausted for more than EROFS can address, 16 TiB
 */
export function placeData(inodes: readonly PlacedInode[], source: ChunkColumns, start: number): DataArea {
  const files = inBlobOrder(inodes, source);
  const chunks = chunkTable(
    undefined,
    files.reduce((sum, { node }) => sum + node.entry.chunkCount, 0),
  );
  const firstChunks = new Uint32Array(files.length);
  let block = start / blockBytes;
  let row = 0;
  for (const [i, file] of files.entries()) {
    const { firstChunk, chunkCount, size } = file.node.entry;
    firstChunks[i] = row;
    file.block = block;
    let offset = block * blockBytes;
    for (let chunk = firstChunk; chunk < firstChunk + chunkCount; chunk++, row++) {
      chunks.diskOffset[row] = offset;
      chunks.size[row] = source.size[chunk]!;
      chunks.streamOffset[row] = source.streamOffset[chunk]!;
      chunks.streamEnd[row] = source.streamEnd[chunk]!;
      chunks.innerOffset[row] = source.innerOffset[chunk]!;
      for (let i = 0; i < 32; i++) chunks.digest[row * 32 + i] = source.digest[chunk * 32 + i]!;
      offset += source.size[chunk]!;
    }
    block += Math.ceil(size / blockBytes);
    if (block > maxBlocks)
      throw new LazypullError('ResourceExhausted', 'The layer has more data than an EROFS image can');
  }
  return { chunks, diskBytes: block * blockBytes, firstChunks, paths: files.map(({ node }) => node.entry.path) };
}

/** The regular files that have data, by where their first chunks lie in the blob. */
function inBlobOrder(inodes: readonly PlacedInode[], source: ChunkColumns): PlacedInode[] {
  const byFirstChunk = new Int32Array(source.length).fill(-1);
  for (let i = 0; i < inodes.length; i++) {
    const { type, chunkCount, firstChunk } = inodes[i]!.node.entry;
    if (type === 'reg' && chunkCount > 0) byFirstChunk[firstChunk] = i;
  }
  const files: PlacedInode[] = [];
  for (const i of byFirstChunk) if (i >= 0) files.push(inodes[i]!);
  const follows = (a: PlacedInode, b: PlacedInode) =>
    compareChunks(source, a.node.entry.firstChunk, b.node.entry.firstChunk);
  const inOrder = files.every((file, i) => i === 0 || follows(files[i - 1]!, file) <= 0);
  return inOrder ? files : files.sort(follows);
}

function compareChunks({ streamOffset, innerOffset }: ChunkColumns, a: number, b: number): number {
  return streamOffset[a]! - streamOffset[b]! || innerOffset[a]! - innerOffset[b]!;
}

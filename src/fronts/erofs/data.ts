import { LazypullError } from '../../errors.ts';
import type { ChunkColumns } from '../../formats/chunk-columns.ts';
import { type ChunkTable, chunkTable } from '../../chunks/chunk-table.ts';
import type { DiskPlan, WrittenData } from '../front.ts';
import type { PlacedInode } from './layout.ts';
import { blockBytes } from './superblock.ts';

/** Block numbers have 32 bits, and the last one means none. */
const maxBlocks = 0xffff_fffe;

/** The data area of an image. */
export type DataArea = Omit<DiskPlan, 'metadata'>;

/**
 * Places the data of regular files from byte `start` on, in the order of their first chunks in the blob, and sets the
 * blocks of their inodes.
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
  let placed = 0;
  for (const [i, file] of files.entries()) {
    const { firstChunk, chunkCount, size } = file.node.entry;
    firstChunks[i] = placed;
    file.block = block;
    let offset = block * blockBytes;
    for (let chunk = firstChunk; chunk < firstChunk + chunkCount; chunk++, placed++) {
      offset += source.hole[chunk]!;
      setChunk(chunks, placed, source, chunk, offset);
      offset += source.size[chunk]!;
    }
    block += Math.ceil(size / blockBytes);
    if (block > maxBlocks) throw tooMuch();
  }
  for (const file of inodes) {
    const { type, size, chunkCount } = file.node.entry;
    if (type !== 'reg' || size === 0 || chunkCount > 0) continue;
    file.block = block; // a hole
    block += Math.ceil(size / blockBytes);
    if (block > maxBlocks) throw tooMuch();
  }
  return { chunks, diskBytes: block * blockBytes, firstChunks, paths: files.map(({ node }) => node.entry.path) };
}

/**
 * As `placeData`, for data that is on the disk already.
 *
 * @throws ResourceExhausted if the metadata reaches into the data, and for more than EROFS can address
 */
export function placeWritten(
  inodes: readonly PlacedInode[],
  source: ChunkColumns,
  metadataBytes: number,
  { start, diskOffset }: WrittenData,
): DataArea {
  if (metadataBytes > start) {
    throw new LazypullError('ResourceExhausted', `The layer's metadata would take ${metadataBytes} bytes`);
  }
  const files = inodes.filter(({ node: { entry } }) => entry.type === 'reg' && entry.size > 0);
  files.sort((a, b) => a.node.entry.diskOffset! - b.node.entry.diskOffset!);
  const withChunks = files.filter(({ node }) => node.entry.chunkCount > 0);
  const chunks = chunkTable(
    undefined,
    withChunks.reduce((sum, { node }) => sum + node.entry.chunkCount, 0),
  );
  let end = metadataBytes;
  for (const file of files) {
    const { diskOffset: at, size } = file.node.entry;
    file.block = at! / blockBytes;
    end = Math.ceil((at! + size) / blockBytes) * blockBytes;
  }
  if (end / blockBytes > maxBlocks) throw tooMuch();
  const firstChunks = new Uint32Array(withChunks.length);
  let placed = 0;
  for (const [i, { node }] of withChunks.entries()) {
    const { firstChunk, chunkCount } = node.entry;
    firstChunks[i] = placed;
    for (let chunk = firstChunk; chunk < firstChunk + chunkCount; chunk++, placed++) {
      setChunk(chunks, placed, source, chunk, diskOffset[chunk]!);
    }
  }
  return { chunks, diskBytes: end, firstChunks, paths: withChunks.map(({ node }) => node.entry.path) };
}

function setChunk(chunks: ChunkTable, placed: number, source: ChunkColumns, chunk: number, diskOffset: number): void {
  chunks.diskOffset[placed] = diskOffset;
  chunks.size[placed] = source.size[chunk]!;
  chunks.streamOffset[placed] = source.streamOffset[chunk]!;
  chunks.streamEnd[placed] = source.streamEnd[chunk]!;
  chunks.innerOffset[placed] = source.innerOffset[chunk]!;
  for (let i = 0; i < 32; i++) chunks.digest[placed * 32 + i] = source.digest[chunk * 32 + i]!;
}

function tooMuch(): LazypullError {
  return new LazypullError('ResourceExhausted', 'The layer has more data than an EROFS image can');
}

/** The regular files with data, in the order of their first chunks in the blob. */
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

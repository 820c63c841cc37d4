import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { isSystemError, LazypullError } from '../../errors.ts';
import type { IndexEntry } from '../../formats/layer-index.ts';
import type { Compression } from '../../formats/blob-spans.ts';
import { TarReader } from '../../formats/tar/reader.ts';
import { buildPlainTree } from '../../formats/tree.ts';
import type { Front } from '../../fronts/front.ts';
import { punchHole } from '../../kernel/punch-hole.ts';
import { planTree } from '../plan/layer-plan.ts';
import type { LayerPaths, LayerSums } from '../store/layer-directory.ts';
import { writePlan } from '../store/plan-files.ts';
import { Entries, isPassedOver } from './tar-entries.ts';
import { IndexFile, type MadeIndex } from './made-index.ts';
import { ImageWriter } from './image-writer.ts';
import { longTarBytes, maxRatio, maxTarBytes } from './pull-bounds.ts';
import { Spans } from './written-spans.ts';
import type { BlobEnd, OpenTar } from './tar-stream.ts';
import { WrittenChunks } from './written-chunks.ts';

/** The layer to pull, and the paths of its files, none of which may exist. */
export interface PullTarget extends LayerPaths {
  readonly digest: string;
  readonly blobBytes: number;
  /** The path for an index of the layer; undefined for none. */
  readonly indexPath: string | undefined;
  /** How much is written before the kernel must bring it to the disk, in bytes. */
  readonly unsyncedBytes: number;
}

/** The content of the files. */
export interface Pulled {
  readonly compression: Compression;
  /** The name of the front that laid the disk out. */
  readonly front: string;
  readonly diskBytes: number;
  readonly metadataBytes: number;
  /** Where the files' data starts on the disk. */
  readonly dataOffset: number;
  readonly table: ChunkTable;
  readonly sums: LayerSums;
  readonly entries: number;
  readonly tarBytes: number;
  readonly index: MadeIndex;
}

export interface PullParts {
  /** Lays the disk out. */
  readonly front: Front;
  readonly open: OpenTar;
  /** Throws if the pull must end. Called for each piece. */
  readonly check: () => void;
}

/**
 * Makes a layer's disk image from its blob in one pass: it writes the data of files as it arrives, and everything else
 * at the end, if the blob has the expected digest.
 *
 * @throws DataLoss if the blob is damaged or another one; Unimplemented and InvalidArgument for a tar that only
 * unpacking can show; ResourceExhausted above the bounds of `pull-bounds.ts`, and for a full disk. Files that were
 * written then stay.
 */
export async function pullInto(target: PullTarget, parts: PullParts): Promise<Pulled> {
  try {
    const { maxMetadataBytes, blockBytes } = parts.front;
    using image = new ImageWriter(target.diskPath, maxMetadataBytes, blockBytes, target.unsyncedBytes);
    return await pullTo(image, target, parts);
  } catch (cause) {
    if (!isSystemError(cause)) throw cause;
    throw new LazypullError('ResourceExhausted', 'Cannot write the layer to the disk', { cause });
  }
}

async function pullTo(image: ImageWriter, target: PullTarget, { open, check, front }: PullParts): Promise<Pulled> {
  const { digest, blobBytes } = target;
  const stream = await open({
    onCheckpoint(checkpoint) {
      spans.add(checkpoint);
      index?.add(checkpoint);
    },
    onMark: (mark) => spans.mark(mark),
  });
  const spans = new Spans(stream.compression);
  const index =
    target.indexPath !== undefined && stream.noCheckpoints === undefined
      ? new IndexFile(target.indexPath, stream.compression)
      : undefined;
  const chunks = new WrittenChunks(spans);
  const entries = new Entries();
  const reader = new TarReader(bounded(stream.pieces, blobBytes, check));
  try {
    await writeFiles(reader, image, chunks, entries);
    await reader.drain();
  } finally {
    await reader.close();
  }
  const end = stream.end();
  checkBlob(target, end);
  image.flush();
  const { columns, diskOffset } = chunks.finish(end.dataEnd);
  const content = { entries: entries.list, chunks: columns };
  const whole = { layerDigest: digest, blobBytes, dataEnd: end.dataEnd, tarBytes: reader.position };
  const made = index?.write(whole, content);
  const tree = buildPlainTree(content);
  const { maxMetadataBytes: start, blockBytes } = front;
  const plan = planTree(tree, front, { digest, written: { start, diskOffset } });
  for (const hole of unusedOf(entries.list, diskOffset, plan.chunks, blockBytes)) {
    punchHole(image.fd, hole.start, hole.end);
  }
  const codecData = made !== undefined && 'codecData' in made ? made.codecData : undefined;
  const sums = writePlan({ ...plan, codecData }, image.fd, target);
  return {
    compression: stream.compression,
    front: front.name,
    diskBytes: plan.diskBytes,
    metadataBytes: plan.metadata.length,
    dataOffset: start,
    table: plan.chunks,
    sums,
    entries: entries.list.length,
    tarBytes: reader.position,
    index: made ?? { problem: stream.noCheckpoints ?? 'none was asked for' },
  };
}

/** Writes the data of all files, and collects their entries. */
async function writeFiles(
  reader: TarReader,
  image: ImageWriter,
  chunks: WrittenChunks,
  entries: Entries,
): Promise<void> {
  for (let tar = await reader.next(); tar !== undefined; tar = await reader.next()) {
    if (isPassedOver(tar)) continue;
    const entry = entries.add(tar, chunks.length);
    if (entry.size === 0) continue;
    const start = image.begin();
    entry.diskOffset = start;
    for (;;) {
      const { offset, data } = await reader.readPiece(entry.size);
      image.seek(start + offset);
      if (data.length === 0) break;
      image.write(data);
      const isLast = offset + data.length === entry.size;
      const tarOffset = reader.position - data.length;
      chunks.add({ data, tarOffset, fileOffset: offset, diskOffset: start + offset, isLast });
    }
    chunks.end();
    entry.chunkCount = chunks.length - entry.firstChunk;
  }
}

/** Passes a tar on, unless it becomes too long for its blob. */
async function* bounded(pieces: AsyncIterable<Buffer>, blobBytes: number, check: () => void): AsyncGenerator<Buffer> {
  const maxBytes = Math.min(Math.max(longTarBytes, blobBytes * maxRatio), maxTarBytes);
  let bytes = 0;
  for await (const piece of pieces) {
    check();
    bytes += piece.length;
    if (bytes > maxBytes) {
      const message = `The layer's blob of ${blobBytes} bytes decompresses to more than ${maxBytes}`;
      throw new LazypullError('ResourceExhausted', message);
    }
    yield piece;
  }
}

function checkBlob({ digest, blobBytes }: PullTarget, { hash, bytes }: BlobEnd): void {
  if (bytes !== blobBytes) throw new LazypullError('DataLoss', `The blob has ${bytes} bytes instead of ${blobBytes}`);
  if (`sha256:${hash}` === digest) return;
  throw new LazypullError('DataLoss', `The blob has another digest: sha256:${hash}`);
}

/** Ranges of data that later entries of the tar have replaced: whole blocks. */
function* unusedOf(
  entries: readonly IndexEntry[],
  diskOffset: Float64Array,
  table: ChunkTable,
  blockBytes: number,
): Generator<{ start: number; end: number }> {
  const used = new Set(table.diskOffset);
  for (const { firstChunk, chunkCount, diskOffset: start, size } of entries) {
    if (chunkCount === 0 || start === undefined || used.has(diskOffset[firstChunk]!)) continue;
    yield { start, end: Math.ceil((start + size) / blockBytes) * blockBytes };
  }
}

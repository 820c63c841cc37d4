import { hash } from 'node:crypto';
import { digestOfHex } from '../../src/chunks/digest.ts';
import { ChunkColumns, digestBytes } from '../../src/formats/chunk-columns.ts';
import { CheckpointingInflate } from '../../src/formats/gzip/checkpointing-inflate.ts';
import { LayerIndexWriter } from '../../src/formats/layer-index-file/encode.ts';
import { type SpanTable, streamEndAt } from '../../src/formats/layer-index-file/span-table.ts';
import type { IndexEntry } from '../../src/formats/layer-index.ts';
import { type Checkpoint, type Compression, firstCheckpoint } from '../../src/formats/blob-spans.ts';
import { TarReader } from '../../src/formats/tar/reader.ts';
import { openZlib } from '../../src/kernel/zlib.ts';
import { inPieces } from './tar-builder.ts';

export interface BuiltIndex {
  /** The index file. */
  readonly file: Buffer;
  readonly tar: Buffer;
  readonly entries: readonly IndexEntry[];
  readonly layerDigest: string;
  /** As its writer gives them. */
  readonly spans: SpanTable;
}

export interface BuildOptions {
  readonly spanBytes?: number;
  readonly chunkBytes?: number;
}

/** Makes the layer index of a blob that is in memory as a whole, gzip or a plain tar. */
export async function buildLayerIndex(blob: Buffer, options: BuildOptions = {}): Promise<BuiltIndex> {
  const isGzip = blob[0] === 0x1f && blob[1] === 0x8b;
  const compression: Compression = isGzip ? 'gzip' : 'none';
  const { tar, checkpoints, dataEnd } = isGzip
    ? inflate(blob, options.spanBytes)
    : { tar: blob, checkpoints: [], dataEnd: blob.length };
  const chunks = new ChunkColumns();
  const entries: IndexEntry[] = [];
  const reader = new TarReader(inPieces(tar, 1 << 20));
  const starts = [0, ...checkpoints.map(({ outputOffset }) => outputOffset), Infinity];
  const checkpointsOfSpans = [firstCheckpoint(compression), ...checkpoints];
  let position = 0;
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    position += entry.globalHeaders.length + entry.headers.length;
    const firstChunk = chunks.length;
    const end = position + entry.size;
    for (let at = position; at < end; ) {
      const next = starts.find((start) => start > at)!;
      const size = Math.min(options.chunkBytes ?? 4 << 20, next - at, end - at);
      const span = checkpointsOfSpans[starts.indexOf(next) - 1]!;
      const row = isGzip ? chunks.add(span.blobOffset, at - span.outputOffset, size) : chunks.add(at, 0, size);
      const spanEnd = isGzip ? streamEndAt(checkpointsOfSpans[starts.indexOf(next)], dataEnd) : at + size;
      chunks.streamEnd[row] = spanEnd;
      chunks.digest.set(hash('sha256', tar.subarray(at, at + size), 'buffer'), row * digestBytes);
      at += size;
    }
    const { globalHeaders: _, headers: __, userName: ___, groupName: ____, ...rest } = entry;
    entries.push({ ...rest, firstChunk, chunkCount: chunks.length - firstChunk });
    position = Math.ceil(end / 512) * 512;
  }
  const writer = new LayerIndexWriter(compression);
  for (const checkpoint of checkpoints) writer.span(checkpoint);
  const layerDigest = digestOfHex(hash('sha256', blob));
  const layer = { layerDigest, blobBytes: blob.length, dataEnd, tarBytes: tar.length };
  const file = writer.finish(layer, { entries, chunks });
  return { file, tar, entries, layerDigest, spans: writer.spanTable(dataEnd) };
}

function inflate(blob: Buffer, spanBytes: number | undefined) {
  using inflating = new CheckpointingInflate(openZlib()!.inflater(), spanBytes === undefined ? {} : { spanBytes });
  const outputs: Buffer[] = [];
  const checkpoints: Checkpoint[] = [];
  for (let at = 0, isFull = false; at < blob.length || isFull; ) {
    const output = Buffer.allocUnsafeSlow(256 << 10);
    const step = inflating.step(blob, at, output, 0);
    at += step.consumed;
    isFull = step.produced === output.length;
    outputs.push(output.subarray(0, step.produced));
    if (step.checkpoint !== undefined) checkpoints.push(step.checkpoint);
  }
  return { tar: Buffer.concat(outputs), checkpoints, ...inflating.end() };
}

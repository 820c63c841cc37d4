import { ChunkColumns, digestBytes } from '../chunk-columns.ts';
import { type Digest, digestOfHex } from '../../chunks/digest.ts';
import { LazypullError } from '../../errors.ts';
import type { LayerIndex } from '../layer-index.ts';
import { maxChunkBytes, maxHoleBytes, maxTocRows } from '../limits.ts';
import { type Compression, maxSpanBytes, spanKinds } from '../blob-spans.ts';
import { readEntries } from './entries.ts';
import { magic, readTail } from './footer.ts';
import { damaged, NumberReader } from './numbers.ts';
import { type SpanTable, spanTable, streamEndAt } from './span-table.ts';
import { compressionCodes, nameOf } from './tables.ts';
import { maxStoredWindowBytes } from './stored-windows.ts';

/** A layer index without the windows. */
export interface LayerIndexFile {
  readonly layerDigest: Digest;
  readonly compression: Compression;
  readonly blobBytes: number;
  readonly tarBytes: number;
  /** A chunk's stream is its span; in an uncompressed tar it is the chunk itself. */
  readonly index: LayerIndex;
  readonly spans: SpanTable;
}

/**
 * Reads the tail of a layer index (docs/layer-index.md). Every number in it is bounded; names and links are hostile
 * until `tree.ts` has checked them.
 *
 * @param end the file from `tailStart` on
 * @param want `layerDigest`: the layer of the index; `fileBytes`: length of the file; `blobBytes`: length of the layer,
 * if it is known
 * @throws DataLoss if it is damaged; FailedPrecondition for the index of another layer; Unimplemented for a later
 * version; ResourceExhausted for too many names
 */
export function decodeTail(
  end: Uint8Array,
  want: { layerDigest: Digest; fileBytes: number; blobBytes?: number | undefined },
): LayerIndexFile {
  const { tail, start, version } = readTail(want.fileBytes, end);
  const reader = new NumberReader(tail);
  const compression = nameOf(compressionCodes, reader.byte());
  if (compression === undefined) throw damaged('the compression of the layer is unknown');
  const layerDigest = digestOfHex(reader.bytes(digestBytes).toString('hex'));
  const blobBytes = reader.number('blobBytes');
  const dataEnd = reader.number('dataEnd', blobBytes);
  const tarBytes = reader.number('tarBytes', compression === 'none' ? blobBytes : undefined);
  checkLayer({ layerDigest, blobBytes }, want);
  const spanCount = reader.number('spans', Math.min(maxTocRows, reader.left));
  const chunkCount = reader.number('chunks', Math.min(maxTocRows, reader.left));
  const entryCount = reader.number('entries', Math.min(maxTocRows, reader.left));
  const size = { dataEnd, tarBytes, windowsEnd: start };
  const spans = readSpans(reader, compression, spanCount, size);
  const chunks = readChunks(reader, compression, chunkCount, { spans, tarBytes });
  if (version > 1) readMoreOfChunks(reader, compression, chunks);
  const entries = readEntries(reader, entryCount, chunks, version > 1);
  if (reader.left > 0) throw damaged('its tail has more than it says');
  return { layerDigest, compression, blobBytes, tarBytes, index: { entries, chunks }, spans };
}

function checkLayer(
  found: { layerDigest: Digest; blobBytes: number },
  want: { layerDigest: Digest; blobBytes?: number | undefined },
): void {
  if (found.layerDigest !== want.layerDigest) {
    throw new LazypullError('FailedPrecondition', `The index is of another layer: ${found.layerDigest}`);
  }
  if (want.blobBytes === undefined || want.blobBytes === found.blobBytes) return;
  const message = `The index is of a layer of ${found.blobBytes} bytes, not of ${want.blobBytes}`;
  throw new LazypullError('FailedPrecondition', message);
}

interface Bounds {
  readonly dataEnd: number;
  readonly tarBytes: number;
  /** The end of the windows in the file. */
  readonly windowsEnd: number;
}

function readSpans(reader: NumberReader, compression: Compression, count: number, bounds: Bounds): SpanTable {
  if ((compression === 'none') !== (count === 0)) throw damaged(`a layer of this kind cannot have ${count} spans`);
  const spans = spanTable(undefined, count);
  const { streamOffset, streamEnd, outputOffset, kind, bits, windowOffset, windowBytes } = spans;
  let blob = 0;
  let output = 0;
  let window = magic.length;
  for (let i = 0; i < count; i++) {
    blob += reader.number('blobOffset', bounds.dataEnd);
    output += reader.number('outputOffset', maxSpanBytes);
    const head = reader.byte();
    const stored = reader.number('windowBytes', maxStoredWindowBytes);
    [streamOffset[i], outputOffset[i], kind[i], bits[i]] = [blob, output, head >> 3, head & 7];
    [windowOffset[i], windowBytes[i]] = [stored === 0 ? 0 : window, stored];
    window += stored;
    if (!isSpan(spans, i, compression)) throw damaged(`span ${i} has no valid start`);
    if (i > 0) streamEnd[i - 1] = streamEndAt({ blobOffset: blob, bits: bits[i]! }, bounds.dataEnd);
  }
  if (count > 0) streamEnd[count - 1] = bounds.dataEnd;
  if (count > 0 && !(blob < bounds.dataEnd)) throw damaged('its spans end beyond the layer');
  if (output > bounds.tarBytes || (count > 0 && bounds.tarBytes - output > maxSpanBytes))
    throw damaged('a span is too long');
  if (window !== bounds.windowsEnd) throw damaged('its windows are not where they should be');
  for (let i = 0; i < count; i++) {
    if (windowBytes[i]! > 0) spans.windowDigest.set(reader.bytes(digestBytes), i * digestBytes);
  }
  return spans;
}

/** Whether a span can begin as it says, after the previous one. */
function isSpan(
  { streamOffset, outputOffset, kind, bits, windowBytes }: SpanTable,
  i: number,
  compression: Compression,
): boolean {
  const isFirst = i === 0;
  if (isFirst && (streamOffset[0] !== 0 || outputOffset[0] !== 0 || kind[0] !== spanKinds.header)) return false;
  if (!isFirst && !(streamOffset[i]! > streamOffset[i - 1]! && outputOffset[i]! > outputOffset[i - 1]!)) return false;
  if (kind[i] === spanKinds.header) return bits[i] === 0 && windowBytes[i] === 0;
  return kind[i] === spanKinds.window && windowBytes[i]! > 0 && compression === 'gzip';
}

function readChunks(
  reader: NumberReader,
  compression: Compression,
  count: number,
  { spans, tarBytes }: { spans: SpanTable; tarBytes: number },
): ChunkColumns {
  const sizes = reader.column('size', count, maxChunkBytes);
  const gaps = reader.column('gap', count);
  const digests = reader.bytes(count * digestBytes);
  const chunks = new ChunkColumns();
  let at = 0;
  let span = 0;
  for (let row = 0; row < count; row++) {
    at += gaps[row]!;
    const size = sizes[row]!;
    if (size === 0 || at + size > tarBytes) throw damaged(`chunk ${row} is not in the tar`);
    if (compression === 'none') {
      chunks.add(at, 0, size);
      chunks.streamEnd[row] = at + size;
    } else {
      while (span + 1 < spans.length && spans.outputOffset[span + 1]! <= at) span++;
      const end = spans.outputOffset[span + 1] ?? tarBytes;
      if (at + size > end) throw damaged(`chunk ${row} is not in one span`);
      chunks.add(spans.streamOffset[span]!, at - spans.outputOffset[span]!, size);
      chunks.streamEnd[row] = spans.streamEnd[span]!;
    }
    at += size;
  }
  chunks.digest.set(digests);
  return chunks;
}

/** What version 2 says of chunks: holes before them, and where in their spans they end. */
function readMoreOfChunks(reader: NumberReader, compression: Compression, chunks: ChunkColumns): void {
  const { length, hole, streamOffset, streamEnd } = chunks;
  hole.set(reader.column('hole', length, maxHoleBytes));
  if (compression === 'none') return;
  let before = -1;
  let end = 0;
  for (let row = 0; row < length; row++) {
    const start = streamOffset[row]!;
    if (start !== before) end = start;
    end += reader.number('streamEnd', streamEnd[row]! - end);
    if (end === start) throw damaged(`chunk ${row} has no bytes`);
    streamEnd[row] = end;
    before = start;
  }
}

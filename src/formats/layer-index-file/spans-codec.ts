import { type CheckedChunk, checkChunk } from '../../chunks/checked-chunk.ts';
import { LazypullError } from '../../errors.ts';
import { readSpan } from '../gzip/read-span.ts';
import type { Codec, IndexPart, PackedRun } from '../layer-format.ts';
import { spanKinds } from '../blob-spans.ts';
import { spanCount, spanOf, type SpanTable, spanTable } from './span-table.ts';
import { openWindow } from './stored-windows.ts';

/**
 * Blobs whose streams are the spans of a layer index. The codec's data is the table of spans; windows come from the
 * index file, through `PackedRun.readIndex`.
 */
export const spansCodec: Codec = {
  bytesNeeded: ({ streamOffset, streamEnd }, chunk) => ({ start: streamOffset[chunk]!, end: streamEnd[chunk]! }),
  indexParts,
  unpack,
};

/** The windows of the spans of the chunks. */
function indexParts(run: Pick<PackedRun, 'table' | 'chunks' | 'codecData'>): IndexPart[] {
  const { table, chunks, codecData } = run;
  const parts: IndexPart[] = [];
  if (codecData === undefined || codecData.byteLength === 0) return parts;
  const spans = spansOf(run);
  let before = -1;
  for (let chunk = chunks.first; chunk < chunks.last; chunk++) {
    const offset = table.streamOffset[chunk]!;
    if (offset === before) continue;
    before = offset;
    const span = spanOf(spans, offset);
    const bytes = span < 0 ? 0 : spans.windowBytes[span]!;
    if (bytes === 0) continue;
    const start = spans.windowOffset[span]!;
    parts.push({ start, end: start + bytes, digest: spans.windowDigest.subarray(span * 32, (span + 1) * 32) });
  }
  return parts;
}

/** Reads one span at a time, in table order. */
async function* unpack(run: PackedRun): AsyncGenerator<CheckedChunk> {
  const { table, chunks } = run;
  for (let first = chunks.first; first < chunks.last; ) {
    const start = table.streamOffset[first]!;
    let last = first + 1;
    let wanted = table.innerOffset[first]! + table.size[first]!;
    let end = table.streamEnd[first]!;
    while (last < chunks.last && table.streamOffset[last] === start) {
      wanted = Math.max(wanted, table.innerOffset[last]! + table.size[last]!);
      end = Math.max(end, table.streamEnd[last]!);
      last++;
    }
    let output: Buffer | undefined;
    let failure: LazypullError | undefined;
    try {
      output = readStream(run, { start, end, wanted });
    } catch (cause) {
      failure = new LazypullError('DataLoss', `Cannot read the span at byte ${start} of the layer`, { cause });
    }
    for (let chunk = first; chunk < last; chunk++) {
      const inner = table.innerOffset[chunk]!;
      if (output === undefined) yield { chunk, error: failure! };
      else yield checkChunk(table, chunk, output.subarray(inner, inner + table.size[chunk]!));
    }
    first = last;
  }
}

/**
 * At least the first `wanted` bytes of the stream at byte `start` of the blob, for which its bytes up to `end`
 * suffice; or all of them if they are fewer.
 */
function readStream(run: PackedRun, { start, end, wanted }: { start: number; end: number; wanted: number }): Buffer {
  const { blobOffset } = run;
  const bytes = run.bytes.subarray(start - blobOffset, end - blobOffset);
  const spans = spansOf(run);
  if (spans.length === 0) return readSpan({ bytes, kind: spanKinds.stored, bits: 0, window: Buffer.alloc(0), wanted });
  const span = spanOf(spans, start);
  if (span < 0) throw new LazypullError('DataLoss', 'No span begins there');
  const kind = spans.kind[span] === spanKinds.window ? spanKinds.window : spanKinds.header;
  return readSpan({ bytes, kind, bits: spans.bits[span]!, window: windowOf(run, spans, span), wanted });
}

function spansOf({ codecData }: Pick<PackedRun, 'codecData'>): SpanTable {
  if (codecData === undefined) throw new LazypullError('DataLoss', 'There is no index of the layer');
  return spanTable(codecData, spanCount(codecData.byteLength));
}

function windowOf({ readIndex }: PackedRun, spans: SpanTable, span: number): Uint8Array {
  const bytes = spans.windowBytes[span]!;
  if (bytes === 0) return Buffer.alloc(0);
  if (readIndex === undefined) throw new LazypullError('DataLoss', 'There is no index file of the layer');
  const offset = spans.windowOffset[span]!;
  return openWindow(readIndex(offset, offset + bytes), spans.windowDigest.subarray(span * 32, (span + 1) * 32));
}

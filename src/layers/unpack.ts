import { hash } from 'node:crypto';
import { constants, createInflateRaw, inflateRawSync } from 'node:zlib';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import { LazypullError } from '../errors.ts';

/** The content of a row, verified; or why there is none. */
export type Unpacked = { row: number; content: Buffer } | { row: number; error: LazypullError };

/** Output beyond what is needed that a stream may hold before it is inflated piece by piece: tar padding and the headers of what follows. */
const inflateSlackBytes = 4 << 20;

/**
 * Inflates and verifies rows of a chunk table, one stream at a time.
 *
 * @param rows rows [first, last), in table order
 * @param bytes the blob from `blobOffset` on, at least as far as the rows need
 */
export async function* unpackRows(
  table: ChunkTable,
  rows: { first: number; last: number },
  bytes: Buffer,
  blobOffset: number,
): AsyncGenerator<Unpacked> {
  for (let first = rows.first; first < rows.last; ) {
    const start = table.streamOffset[first]!;
    let last = first + 1;
    let output = table.innerOffset[first]! + table.size[first]!;
    while (last < rows.last && table.streamOffset[last] === start) {
      output = Math.max(output, table.innerOffset[last]! + table.size[last]!);
      last++;
    }
    const streamEnd = table.streamEnd[first]!;
    let stream: Buffer | LazypullError;
    try {
      stream = await inflate(bytes.subarray(start - blobOffset, streamEnd - blobOffset), output);
    } catch (error) {
      stream = new LazypullError('DataLoss', `Cannot inflate the gzip stream at byte ${start} of the layer`, {
        cause: error,
      });
    }
    for (let row = first; row < last; row++) yield verified(table, row, stream);
    first = last;
  }
}

function verified(table: ChunkTable, row: number, stream: Buffer | LazypullError): Unpacked {
  if (stream instanceof LazypullError) return { row, error: stream };
  const start = table.innerOffset[row]!;
  const content = stream.subarray(start, start + table.size[row]!);
  if (content.length !== table.size[row]) {
    const at = table.streamOffset[row];
    const message = `The gzip stream at byte ${at} of the layer is shorter than its chunk: ${content.length} of ${table.size[row]} bytes`;
    return { row, error: new LazypullError('DataLoss', message) };
  }
  const expected = Buffer.from(table.digest.buffer, table.digest.byteOffset + row * 32, 32);
  const actual = hash('sha256', content, 'buffer');
  if (!expected.equals(actual)) {
    const message = `Wrong chunk digest: sha256:${actual.toString('hex')} instead of sha256:${expected.toString('hex')}`;
    return { row, error: new LazypullError('DataLoss', message) };
  }
  return { row, content };
}

/** At least the first `wanted` bytes that a gzip stream inflates to, or all of them where it is shorter. The checksum is not looked at: chunks have digests. */
async function inflate(gzip: Buffer, wanted: number): Promise<Buffer> {
  const deflate = gzip.subarray(gzipHeaderBytes(gzip));
  try {
    return inflateRawSync(deflate, {
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: wanted + inflateSlackBytes,
      chunkSize: Math.min(wanted + 2048, 8 << 20),
    });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return inflateFirst(deflate, wanted);
  }
}

async function inflateFirst(deflate: Buffer, wanted: number): Promise<Buffer> {
  const inflater = createInflateRaw({ finishFlush: constants.Z_SYNC_FLUSH });
  inflater.end(deflate);
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of inflater as AsyncIterable<Buffer>) {
    pieces.push(piece);
    length += piece.length;
    if (length >= wanted) break;
  }
  return Buffer.concat(pieces, Math.min(length, wanted));
}

/** The length of a gzip member's header (RFC 1952, 2.3). */
function gzipHeaderBytes(gzip: Buffer): number {
  if (gzip.length < 10 || gzip[0] !== 0x1f || gzip[1] !== 0x8b || gzip[2] !== 8) {
    throw new LazypullError('DataLoss', 'There is no gzip header');
  }
  const flags = gzip[3]!;
  let at = 10;
  if (flags & 4) at += 2 + (at + 2 <= gzip.length ? gzip.readUInt16LE(at) : 0);
  for (const flag of [8, 16]) {
    if ((flags & flag) === 0) continue;
    const end = gzip.indexOf(0, at);
    if (end < 0) throw new LazypullError('DataLoss', 'The gzip header does not end');
    at = end + 1;
  }
  return flags & 2 ? at + 2 : at;
}

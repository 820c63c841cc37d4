import { hash } from 'node:crypto';
import { constants, createInflateRaw, inflateRawSync } from 'node:zlib';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { LazypullError } from '../../errors.ts';
import { StreamingInflate } from '../../formats/gzip/streaming-inflate.ts';

/** The content of a chunk, verified; or why there is none. */
export type Unpacked = { chunk: number; content: Buffer } | { chunk: number; error: LazypullError };

/** Output beyond what is needed that a stream may hold before it is inflated piece by piece: tar padding and the headers of what follows. */
const inflateSlackBytes = 4 << 20;

/** Output up to which a stream is inflated as a whole, which is quicker. Two threads do so at one time, and hold it twice. */
const maxWholeBytes = 16 << 20;

/**
 * Inflates and verifies chunks of a chunk table, one stream at a time.
 *
 * @param chunks chunks [first, last), in table order
 * @param bytes the blob from `blobOffset` on, at least as far as the chunks need
 */
export async function* unpackChunks(
  table: ChunkTable,
  chunks: { first: number; last: number },
  bytes: Buffer,
  blobOffset: number,
): AsyncGenerator<Unpacked> {
  for (let first = chunks.first; first < chunks.last; ) {
    const start = table.streamOffset[first]!;
    let last = first + 1;
    let output = table.innerOffset[first]! + table.size[first]!;
    while (last < chunks.last && table.streamOffset[last] === start) {
      output = Math.max(output, table.innerOffset[last]! + table.size[last]!);
      last++;
    }
    const gzip = bytes.subarray(start - blobOffset, table.streamEnd[first]! - blobOffset);
    if (output > maxWholeBytes) yield* unpackLong(table, { first, last }, gzip);
    else yield* unpackWhole(table, { first, last }, gzip, output);
    first = last;
  }
}

/** The chunks of one stream, which inflates to `output` bytes at least. */
async function* unpackWhole(
  table: ChunkTable,
  { first, last }: { first: number; last: number },
  gzip: Buffer,
  output: number,
): AsyncGenerator<Unpacked> {
  let stream: Buffer | undefined;
  let failure: LazypullError | undefined;
  try {
    stream = await inflate(gzip, output);
  } catch (error) {
    failure = cannotInflate(table, first, error);
  }
  for (let chunk = first; chunk < last; chunk++) {
    const start = table.innerOffset[chunk]!;
    if (stream === undefined) yield { chunk, error: failure! };
    else yield verified(table, chunk, stream.subarray(start, start + table.size[chunk]!));
  }
}

/** As `unpackWhole`, with no more of the stream in memory than the largest chunk. */
async function* unpackLong(
  table: ChunkTable,
  { first, last }: { first: number; last: number },
  gzip: Buffer,
): AsyncGenerator<Unpacked> {
  const chunks = Array.from({ length: last - first }, (_, i) => first + i);
  chunks.sort((a, b) => table.innerOffset[a]! - table.innerOffset[b]! || table.size[a]! - table.size[b]!);
  let stream: StreamingInflate | undefined;
  try {
    let content: Buffer = Buffer.alloc(0);
    let start = -1;
    for (const chunk of chunks) {
      let unpacked: Unpacked;
      try {
        stream ??= new StreamingInflate(gzip.subarray(gzipHeaderBytes(gzip)));
        if (table.innerOffset[chunk] !== start || table.size[chunk] !== content.length) {
          start = table.innerOffset[chunk]!;
          content = await stream.read(start, table.size[chunk]!);
        }
        unpacked = verified(table, chunk, content);
      } catch (error) {
        unpacked = { chunk, error: cannotInflate(table, chunk, error) };
      }
      yield unpacked;
    }
  } finally {
    await stream?.[Symbol.asyncDispose]();
  }
}

function cannotInflate(table: ChunkTable, chunk: number, cause: unknown): LazypullError {
  const message = `Cannot inflate the gzip stream at byte ${table.streamOffset[chunk]} of the layer`;
  return new LazypullError('DataLoss', message, { cause });
}

/** The content as that of the chunk, if it is what the chunk's digest promises. */
export function verified(table: ChunkTable, chunk: number, content: Buffer): Unpacked {
  if (content.length !== table.size[chunk]) {
    const at = table.streamOffset[chunk];
    const message = `The gzip stream at byte ${at} of the layer is shorter than its chunk: ${content.length} of ${table.size[chunk]} bytes`;
    return { chunk, error: new LazypullError('DataLoss', message) };
  }
  const expected = Buffer.from(table.digest.buffer, table.digest.byteOffset + chunk * 32, 32);
  const actual = hash('sha256', content, 'buffer');
  if (!expected.equals(actual)) {
    const message = `Wrong chunk digest: sha256:${actual.toString('hex')} instead of sha256:${expected.toString('hex')}`;
    return { chunk, error: new LazypullError('DataLoss', message) };
  }
  return { chunk, content };
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

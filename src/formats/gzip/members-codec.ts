import { constants, createInflateRaw, inflateRawSync } from 'node:zlib';
import { type CheckedChunk, checkChunk } from '../../chunks/checked-chunk.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { LazypullError } from '../../errors.ts';
import type { Codec, PackedRun } from '../layer-format.ts';
import { StreamingInflate } from './streaming-inflate.ts';

/**
 * If a stream has more output beyond what is needed, it is inflated piece by piece: tar padding and the headers of what
 * follows.
 */
const inflateSlackBytes = 4 << 20;

/**
 * Streams with up to so much output are inflated as a whole, which is faster. Two threads do so at a time, and hold it
 * twice.
 */
const maxWholeBytes = 16 << 20;

/** Blobs whose streams are gzip members (RFC 1952): each can be inflated alone. */
export const membersCodec: Codec = { bytesNeeded, unpack };

/** (A publisher's index may claim a longer stream: the rest is never fetched.) */
function bytesNeeded(table: ChunkTable, chunk: number): { start: number; end: number } {
  const start = table.streamOffset[chunk]!;
  const output = table.innerOffset[chunk]! + table.size[chunk]!;
  return { start, end: Math.min(table.streamEnd[chunk]!, start + deflateBound(output)) };
}

/** No compressor makes a longer gzip stream of `bytes` bytes, in bytes. */
function deflateBound(bytes: number): number {
  return bytes * 2 + (1 << 20);
}

/** Inflates one stream at a time, in table order. */
async function* unpack({ table, chunks, bytes, blobOffset }: PackedRun): AsyncGenerator<CheckedChunk> {
  for (let first = chunks.first; first < chunks.last; ) {
    const start = table.streamOffset[first]!;
    let last = first + 1;
    let output = table.innerOffset[first]! + table.size[first]!;
    let end = table.streamEnd[first]!;
    while (last < chunks.last && table.streamOffset[last] === start) {
      output = Math.max(output, table.innerOffset[last]! + table.size[last]!);
      end = Math.max(end, table.streamEnd[last]!);
      last++;
    }
    const gzip = bytes.subarray(start - blobOffset, end - blobOffset);
    if (output > maxWholeBytes) yield* unpackLong(table, { first, last }, gzip);
    else yield* unpackWhole(table, { first, last }, gzip, output);
    first = last;
  }
}

/** The chunks of one stream, which inflates to at least `output` bytes. */
async function* unpackWhole(
  table: ChunkTable,
  { first, last }: ChunkRange,
  gzip: Buffer,
  output: number,
): AsyncGenerator<CheckedChunk> {
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
    else yield checkChunk(table, chunk, stream.subarray(start, start + table.size[chunk]!));
  }
}

/** As `unpackWhole`, with no more of the stream in memory than the largest chunk. */
async function* unpackLong(table: ChunkTable, { first, last }: ChunkRange, gzip: Buffer): AsyncGenerator<CheckedChunk> {
  const chunks = Array.from({ length: last - first }, (_, i) => first + i);
  chunks.sort((a, b) => table.innerOffset[a]! - table.innerOffset[b]! || table.size[a]! - table.size[b]!);
  let stream: StreamingInflate | undefined;
  try {
    let content: Buffer = Buffer.alloc(0);
    let start = -1;
    for (const chunk of chunks) {
      let unpacked: CheckedChunk;
      try {
        stream ??= new StreamingInflate(gzip.subarray(gzipHeaderBytes(gzip)));
        if (table.innerOffset[chunk] !== start || table.size[chunk] !== content.length) {
          start = table.innerOffset[chunk]!;
          content = await stream.read(start, table.size[chunk]!);
        }
        unpacked = checkChunk(table, chunk, content);
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

/**
 * At least the first `wanted` bytes of an inflated gzip stream, or all of them if it is shorter. The checksum is not
 * checked: chunks have digests.
 */
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

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { LazypullError } from '../errors.ts';
import { ByteReader } from '../formats/tar/byte-reader.ts';
import { isZstdMagic, zstdFrames } from '../formats/zstd/frames.ts';

/** Larger pieces than zlib's 16 KiB mean fewer trips through the event loop. */
const pieceBytes = 256 * 1024;

/**
 * The tar in a layer blob: gzip (one member or many), zstd or not compressed, told apart by the first bytes as media types often lie.
 * @throws DataLoss where the compressed data is damaged, and what `blob` throws.
 */
export async function* decompress(blob: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const reader = new ByteReader(blob);
  const head = await reader.read(4);
  const rest = chunksOf(head, reader);
  const decoder = decoderFor(head);
  if (decoder === undefined) {
    yield* rest;
    return;
  }
  const errors: unknown[] = [];
  const frames = isZstd(head) ? zstdFrames(rest) : rest;
  const done = pipeline(Readable.from(noting(frames, errors)), decoder);
  done.catch(() => {}); // Reading the decoder throws the same error.
  try {
    for await (const data of decoder) yield data as Buffer;
    await done;
  } catch (cause) {
    if (errors.length > 0) throw errors[0];
    throw new LazypullError('DataLoss', 'Cannot decompress the layer: the data is damaged or cut off', { cause });
  } finally {
    decoder.destroy();
  }
}

function decoderFor(head: Buffer) {
  if (isZstd(head)) return createZstdDecompress({ chunkSize: pieceBytes });
  const isGzip = head.length >= 2 && head.readUInt16BE(0) === 0x1f8b;
  return isGzip ? createGunzip({ chunkSize: pieceBytes }) : undefined;
}

function isZstd(head: Buffer): boolean {
  return head.length === 4 && isZstdMagic(head.readUInt32LE(0));
}

async function* chunksOf(head: Buffer, reader: ByteReader): AsyncGenerator<Buffer> {
  try {
    if (head.length > 0) yield head;
    for (let data = await reader.readSome(pieceBytes); data.length > 0; data = await reader.readSome(pieceBytes))
      yield data;
  } finally {
    await reader.close();
  }
}

/** Passes the source on and notes its error, to tell it from one of the decoder, which the stream throws into its source too. */
async function* noting(source: AsyncIterable<Buffer>, errors: unknown[]): AsyncGenerator<Buffer> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await iterator.next().catch((error: unknown) => {
        errors.push(error);
        throw error;
      });
      if (next.done) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}

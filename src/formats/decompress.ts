import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { LazypullError } from '../errors.ts';
import type { Compression } from './blob-spans.ts';
import { ByteReader } from './tar/byte-reader.ts';
import { isZstdMagic, zstdFrames } from './zstd/frames.ts';

/** Larger pieces than zlib's 16 KiB mean fewer trips through the event loop. */
const pieceBytes = 256 * 1024;

/** So many bytes of a blob show how it is compressed. */
export const magicBytes = 4;

/** How a blob that starts with these bytes is compressed: media types are often wrong. */
export function compressionOf(head: Buffer): Compression {
  if (head.length >= magicBytes && isZstdMagic(head.readUInt32LE(0))) return 'zstd';
  return head.length >= 2 && head.readUInt16BE(0) === 0x1f8b ? 'gzip' : 'none';
}

/**
 * The tar in a layer blob: gzip (one member or many), zstd or not compressed, recognized by the first bytes.
 *
 * @throws DataLoss if the compressed data is damaged, and what `blob` throws
 */
export async function* decompress(blob: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const reader = new ByteReader(blob);
  const head = await reader.read(magicBytes);
  const rest = reader.rest(head, pieceBytes);
  const compression = compressionOf(head);
  if (compression === 'none') {
    yield* rest;
    return;
  }
  const decoder =
    compression === 'zstd' ? createZstdDecompress({ chunkSize: pieceBytes }) : createGunzip({ chunkSize: pieceBytes });
  const errors: unknown[] = [];
  const frames = compression === 'zstd' ? zstdFrames(rest) : rest;
  const done = pipeline(Readable.from(noting(frames, errors)), decoder);
  done.catch(() => {}); // reading the decoder throws the same error
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

/**
 * Passes the source on and notes its error, to distinguish it from one of the decoder, which the stream throws into its
 * source too.
 */
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

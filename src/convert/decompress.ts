import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { LazypullError } from '../errors.ts';
import { ByteReader } from './byte-reader.ts';

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
  let sourceError: unknown;
  const source = Readable.from(guard(rest, (error) => (sourceError = error)));
  const done = pipeline(source, decoder);
  done.catch(() => {}); // Reading the decoder throws the same error.
  try {
    for await (const data of decoder) yield data as Buffer;
    await done;
  } catch (cause) {
    if (sourceError !== undefined) throw sourceError;
    throw new LazypullError('DataLoss', 'Cannot decompress the layer: the data is damaged', { cause });
  } finally {
    decoder.destroy();
  }
}

function decoderFor(head: Buffer) {
  if (head.length >= 2 && head.readUInt16BE(0) === 0x1f8b) return createGunzip({ chunkSize: pieceBytes });
  if (head.length < 4) return undefined;
  const magic = head.readUInt32LE(0);
  const isZstd = magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50;
  return isZstd ? createZstdDecompress({ chunkSize: pieceBytes }) : undefined;
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

/** Passes the source on and tells of its error, to tell it from one of the decoder. */
async function* guard(source: AsyncIterable<Buffer>, onError: (error: unknown) => void): AsyncGenerator<Buffer> {
  try {
    yield* source;
  } catch (error) {
    onError(error);
    throw error;
  }
}

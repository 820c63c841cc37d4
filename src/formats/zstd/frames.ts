import { LazypullError } from '../../errors.ts';
import { ByteReader } from '../tar/byte-reader.ts';

/** The first four bytes of a frame with data, little endian (RFC 8878, 3.1.1). */
const frameMagic = 0xfd2fb528;

/** Whether data that starts with these four bytes, little endian, is zstd: a frame, or a skippable frame before it. */
export function isZstdMagic(magic: number): boolean {
  return magic === frameMagic || isSkippable(magic);
}

/**
 * Cuts a zstd stream so that no piece crosses the end of a frame, and leaves skippable frames out. Node's decoder wants
 * it so: it drops what follows a frame in the same piece, and layers of many frames are common (zstd:chunked, pzstd).
 * Sizes: RFC 8878, 3.1.
 * @throws DataLoss if the stream is not made of whole frames.
 */
export async function* zstdFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const reader = new ByteReader(source);
  try {
    for (;;) {
      const head = await reader.read(4);
      if (head.length === 0) return;
      if (head.length < 4) throw damaged();
      const magic = head.readUInt32LE();
      if (magic === frameMagic) yield* frame(head, reader);
      else if (isSkippable(magic)) await skip(reader);
      else throw damaged();
    }
  } finally {
    await reader.close();
  }
}

function isSkippable(magic: number): boolean {
  return (magic & 0xfffffff0) >>> 0 === 0x184d2a50;
}

async function skip(reader: ByteReader): Promise<void> {
  const size = (await exactly(reader, 4)).readUInt32LE();
  for (let left = size; left > 0; ) {
    const data = await reader.readSome(left);
    if (data.length === 0) throw damaged();
    left -= data.length;
  }
}

async function* frame(magic: Buffer, reader: ByteReader): AsyncGenerator<Buffer> {
  const descriptor = await exactly(reader, 1);
  const flags = descriptor.readUInt8();
  const isSingleSegment = (flags & 0x20) !== 0;
  const dictionaryIdBytes = [0, 1, 2, 4][flags & 3] ?? 0;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][flags >> 6] ?? 0;
  const rest = await exactly(reader, (isSingleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes);
  const checksumBytes = (flags & 0x04) === 0 ? 0 : 4;
  let start = Buffer.concat([magic, descriptor, rest]);
  for (;;) {
    const header = await exactly(reader, 3);
    const bits = header.readUIntLE(0, 3);
    const isRle = ((bits >> 1) & 3) === 1;
    const isLast = (bits & 1) === 1;
    const body = await exactly(reader, (isRle ? 1 : bits >> 3) + (isLast ? checksumBytes : 0));
    start = Buffer.concat([start, header, body]);
    if (isLast || start.length >= pieceBytes) {
      yield start;
      start = Buffer.alloc(0);
    }
    if (isLast) return;
  }
}

/** Blocks are joined to pieces of about this size. A block has at most 2 MiB by its header, 128 KiB by the rules. */
const pieceBytes = 64 * 1024;

async function exactly(reader: ByteReader, bytes: number): Promise<Buffer> {
  const data = await reader.read(bytes);
  if (data.length < bytes) throw damaged();
  return data;
}

function damaged(): LazypullError {
  return new LazypullError('DataLoss', 'Cannot decompress the layer: the zstd data is damaged or cut off');
}

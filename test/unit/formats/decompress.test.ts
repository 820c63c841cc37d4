import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { decompress } from '../../../src/formats/decompress.ts';
import { inPieces } from '../../support/tar-builder.ts';

const data = Buffer.concat(Array.from({ length: 400 }, (_, i) => createHash('sha256').update(String(i)).digest()));

async function inflate(blob: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of decompress(blob)) parts.push(part);
  return Buffer.concat(parts);
}

/** A skippable zstd frame, as zstd:chunked has them. */
function skippable(bytes: number): Buffer {
  const frame = Buffer.alloc(8 + bytes, 0xaa);
  frame.writeUInt32LE(0x184d2a50, 0);
  frame.writeUInt32LE(bytes, 4);
  return frame;
}

const gzip = gzipSync(data);
const zstd = zstdCompressSync(data);

for (const pieceBytes of [3, 500, 10_000, 1_000_000]) {
  test(`decompress() reads every compression in pieces of ${pieceBytes}`, async () => {
    assert.deepEqual(await inflate(inPieces(data, pieceBytes)), data);
    assert.deepEqual(await inflate(inPieces(gzip, pieceBytes)), data);
    assert.deepEqual(await inflate(inPieces(zstd, pieceBytes)), data);
  });

  test(`decompress() reads many members and frames in pieces of ${pieceBytes}`, async () => {
    const twice = Buffer.concat([data, data]);
    assert.deepEqual(await inflate(inPieces(Buffer.concat([gzip, gzip]), pieceBytes)), twice);
    const frames = Buffer.concat([
      skippable(100),
      zstd,
      skippable(0),
      zstdCompressSync(Buffer.alloc(0)),
      zstd,
      skippable(3),
    ]);
    assert.deepEqual(await inflate(inPieces(frames, pieceBytes)), twice);
  });
}

test('decompress() takes what is shorter than a magic number as it is', async () => {
  assert.deepEqual(await inflate(inPieces(Buffer.alloc(0))), Buffer.alloc(0));
  assert.deepEqual(await inflate(inPieces(Buffer.from('ab'))), Buffer.from('ab'));
});

test('decompress() reads zstd frames with every header field and run-length blocks', async () => {
  const zeros = Buffer.alloc(1_000_000);
  assert.deepEqual(await inflate(inPieces(zstdCompressSync(zeros))), zeros);
  const { constants } = await import('node:zlib');
  const checked = zstdCompressSync(data, {
    params: { [constants.ZSTD_c_checksumFlag]: 1, [constants.ZSTD_c_contentSizeFlag]: 0 },
  });
  assert.deepEqual(await inflate(inPieces(Buffer.concat([checked, checked]))), Buffer.concat([data, data]));
});

test('decompress() refuses data that is cut off, changed or followed by something else', async () => {
  for (const blob of [gzip, zstd]) {
    await assert.rejects(inflate(inPieces(blob.subarray(0, blob.length - 10))), { code: 'DataLoss' });
    await assert.rejects(inflate(inPieces(Buffer.concat([blob, Buffer.from('garbage of some length')]), 100)), {
      code: 'DataLoss',
    });
    const changed = Buffer.from(blob);
    changed.fill(0, 5000, 5100);
    changed.fill(0xff, 5100, 5200);
    await assert.rejects(inflate(inPieces(changed)).then((result) => assert.deepEqual(result, data)));
  }
});

test("decompress() passes the source's own error on", async () => {
  async function* failing(): AsyncGenerator<Buffer> {
    yield gzip.subarray(0, 5000);
    throw new Error('connection lost');
  }
  await assert.rejects(inflate(failing()), /^Error: connection lost$/);
});

test('decompress() ends the source when its reader stops', async () => {
  let isClosed = false;
  async function* endless(): AsyncGenerator<Buffer> {
    try {
      yield gzip;
      for (;;) yield gzip;
    } finally {
      isClosed = true;
    }
  }
  for await (const part of decompress(endless())) {
    assert.ok(part.length > 0);
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(isClosed);
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import type { Checkpoint } from '../../../../src/formats/blob-spans.ts';
import { CheckpointingFrames } from '../../../../src/formats/zstd/checkpointing-frames.ts';
import { readFrames } from '../../../../src/formats/zstd/read-frames.ts';
import { openZstd } from '../../../../src/kernel/zstd.ts';

const content = Buffer.from(randomBytes(1_000_000).toString('base64'));

function frames(bytes: number): Buffer[] {
  const count = Math.ceil(content.length / bytes);
  return Array.from({ length: count }, (_, i) => zstdCompressSync(content.subarray(i * bytes, (i + 1) * bytes)));
}

function skippable(bytes: number): Buffer {
  const frame = Buffer.alloc(8 + bytes, 1);
  frame.writeUInt32LE(0x184d2a5f);
  frame.writeUInt32LE(bytes, 4);
  return frame;
}

/** Decompresses a blob that comes in pieces into memory of which pieces are free. */
function decompress(blob: Buffer, pieceBytes: number, roomBytes: number, memberSpanBytes: number) {
  using decoding = new CheckpointingFrames(openZstd()!.decoder(), { memberSpanBytes });
  const outputs: Buffer[] = [];
  const checkpoints: Checkpoint[] = [];
  for (let start = 0; start < blob.length; start += pieceBytes) {
    const piece = blob.subarray(start, start + pieceBytes);
    for (let at = 0, isFull = false; at < piece.length || isFull; ) {
      const output = Buffer.allocUnsafeSlow(roomBytes);
      const { consumed, produced, checkpoint } = decoding.step(piece, at, output, 0);
      at += consumed;
      isFull = produced === roomBytes;
      outputs.push(output.subarray(0, produced));
      if (checkpoint === undefined) continue;
      checkpoints.push(checkpoint);
      assert.equal(checkpoint.outputOffset, Buffer.concat(outputs).length);
    }
  }
  assert.equal(decoding.blobBytes, blob.length);
  return { output: Buffer.concat(outputs), checkpoints, ...decoding.end() };
}

test('CheckpointingFrames notes frames at which one can begin to read', () => {
  const blob = Buffer.concat([skippable(100), ...frames(70_000), skippable(0), skippable(70_000)]);
  for (const [pieceBytes, roomBytes] of [
    [1 << 20, 1 << 18],
    [1000, 3001],
  ] as const) {
    const { output, checkpoints, dataEnd } = decompress(blob, pieceBytes, roomBytes, 200_000);
    assert.ok(output.equals(content));
    assert.equal(dataEnd, blob.length);
    assert.ok(checkpoints.length >= 6);
    for (const { blobOffset, outputOffset, kind, bits } of checkpoints) {
      assert.deepEqual([kind, bits], [0, 0]);
      const rest = readFrames(blob.subarray(blobOffset), content.length);
      assert.ok(rest.equals(content.subarray(outputOffset)));
    }
  }
});

test('CheckpointingFrames tells how much of the blob suffices for what was put out', () => {
  const blob = Buffer.concat(frames(300_000));
  using decoding = new CheckpointingFrames(openZstd()!.decoder());
  const room = Buffer.alloc(10_000);
  for (let at = 0; decoding.outputBytes < content.length; ) {
    at += decoding.step(blob, at, room, 0).consumed;
    const { outputBytes, sufficientBytes } = decoding;
    assert.ok(readFrames(blob.subarray(0, sufficientBytes), outputBytes).length >= outputBytes, `byte ${outputBytes}`);
  }
});

test('CheckpointingFrames has no checkpoint in a blob of one frame', () => {
  const { output, checkpoints } = decompress(zstdCompressSync(content), 5000, 1 << 18, 1000);
  assert.ok(output.equals(content));
  assert.deepEqual(checkpoints, []);
});

test('CheckpointingFrames refuses what is damaged, cut off or followed by something', () => {
  const blob = Buffer.concat(frames(500_000));
  const run = (bytes: Buffer) => () => decompress(bytes, 1 << 20, 1 << 18, 1000);
  const flipped = Buffer.from(blob);
  flipped[frames(500_000)[0]!.length]! ^= 0x40; // in the magic number of the second frame
  const wrong = [blob.subarray(0, -1), Buffer.concat([blob, Buffer.from('more')]), flipped, Buffer.from('no zstd')];
  for (const bytes of [...wrong, blob.subarray(0, 3)]) assert.throws(run(bytes), { code: 'DataLoss' });
});

test('readFrames gives the start of frames of which the end is missing', () => {
  const blob = Buffer.concat(frames(600_000));
  for (const end of [1000, 200_000, 700_000, blob.length - 1]) {
    const output = readFrames(blob.subarray(0, end), content.length);
    assert.ok(content.subarray(0, output.length).equals(output));
    assert.ok(output.length + (256 << 10) >= (end / blob.length) * content.length);
  }
  assert.throws(() => readFrames(Buffer.from('no zstd'), 10), { code: 'DataLoss' });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constants, crc32, deflateRawSync, gzipSync } from 'node:zlib';
import { CheckpointingInflate } from '../../../../src/formats/gzip/checkpointing-inflate.ts';
import { readSpan } from '../../../../src/formats/gzip/read-span.ts';
import { type Checkpoint, firstCheckpoint, spanKinds } from '../../../../src/formats/blob-spans.ts';
import { openZlib } from '../../../../src/kernel/zlib.ts';
import fc from '../../../support/properties.ts';

const zlib = openZlib()!;

/** Text that deflate can do something with: it repeats itself near and far. */
function sample(bytes: number, seed: number): Buffer {
  const data = Buffer.alloc(bytes);
  let state = seed + 1;
  for (let at = 0; at < bytes; ) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    const length = Math.min(1 + ((state >>> 16) % 300), bytes - at);
    const from = at - 1 - ((state >>> 8) % 60_000);
    if (from >= 0 && state % 3 !== 0) data.copy(data, at, from, Math.min(from + length, at));
    else for (let i = at; i < at + length; i++) data[i] = (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 24;
    at += length;
  }
  return data;
}

interface Inflated {
  readonly output: Buffer;
  readonly checkpoints: Checkpoint[];
  readonly dataEnd: number;
}

function inflate(
  blob: Buffer,
  options: { spanBytes?: number; memberSpanBytes?: number; piece?: number; room?: number } = {},
): Inflated {
  const { piece = 10_000, room = 7_000, spanBytes = 20_000, ...others } = options;
  using inflating = new CheckpointingInflate(zlib.inflater(), { spanBytes, ...others });
  const outputs: Buffer[] = [];
  const checkpoints = [firstCheckpoint('gzip')];
  for (let start = 0; start < blob.length; start += piece) {
    const input = blob.subarray(start, start + piece);
    for (let at = 0; ; ) {
      const output = Buffer.allocUnsafeSlow(room);
      const step = inflating.step(input, at, output, 0);
      at += step.consumed;
      outputs.push(output.subarray(0, step.produced));
      if (step.checkpoint !== undefined) checkpoints.push(step.checkpoint);
      else if (at === input.length && step.produced < room) break;
    }
  }
  return { output: Buffer.concat(outputs), checkpoints, ...inflating.end() };
}

/** Every span, read on its own with and without zlib's functions, must be the output between its checkpoints. */
function checkSpans(blob: Buffer, content: Buffer, { output, checkpoints, dataEnd }: Inflated): void {
  assert.ok(output.equals(content), 'the output differs');
  using inflater = zlib.inflater();
  for (const [i, span] of checkpoints.entries()) {
    const next = checkpoints[i + 1];
    const end = next === undefined ? dataEnd : next.blobOffset + (next.bits > 0 ? 1 : 0);
    const outputEnd = next?.outputOffset ?? content.length;
    assert.ok(end > span.blobOffset && outputEnd >= span.outputOffset);
    const wanted = outputEnd - span.outputOffset;
    const bytes = blob.subarray(span.blobOffset, end);
    const expected = content.subarray(span.outputOffset, outputEnd);
    assert.ok(readSpan({ ...span, bytes, wanted }, inflater).equals(expected), `span ${i} with zlib differs`);
    const plain = readSpan({ ...span, bytes, wanted });
    assert.ok(plain.subarray(0, wanted).equals(expected), `span ${i} without zlib differs`);
  }
}

function check(blob: Buffer, content: Buffer, options?: Parameters<typeof inflate>[1]): Inflated {
  const inflated = inflate(blob, options);
  checkSpans(blob, content, inflated);
  return inflated;
}

const writers: readonly (readonly [string, (content: Buffer) => Buffer])[] = [
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(
    (level) => [`level ${level}`, (content: Buffer) => gzipSync(content, { level })] as const,
  ),
  ...[constants.Z_FIXED, constants.Z_HUFFMAN_ONLY, constants.Z_RLE, constants.Z_FILTERED].map(
    (strategy) => [`strategy ${strategy}`, (content: Buffer) => gzipSync(content, { strategy })] as const,
  ),
  ['memLevel 1', (content) => gzipSync(content, { memLevel: 1 })],
  ['a window of 512 bytes', (content) => gzipSync(content, { windowBits: 9 })],
];

test('CheckpointingInflate notes where what zlib writes can be read from', () => {
  const content = sample(600_000, 1);
  for (const [name, write] of writers) {
    const { checkpoints } = check(write(content), content);
    assert.ok(checkpoints.length > 5, `${name} has ${checkpoints.length} checkpoints`);
  }
});

test('CheckpointingInflate meets each number of bits', () => {
  const content = sample(3_000_000, 2);
  const { checkpoints } = check(gzipSync(content, { memLevel: 2 }), content, { spanBytes: 9000 });
  assert.deepEqual(
    [...new Set(checkpoints.map(({ bits }) => bits))].toSorted((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
});

const pieces = fc.record({
  seed: fc.nat(),
  members: fc.array(fc.nat(120_000), { minLength: 1, maxLength: 6 }),
  writer: fc.nat(writers.length - 1),
  piece: fc.integer({ min: 1, max: 50_000 }),
  room: fc.integer({ min: 1, max: 50_000 }),
  spanBytes: fc.integer({ min: 1, max: 100_000 }),
  zeros: fc.constantFrom(0, 0, 1, 511, 70_000),
});

test('CheckpointingInflate takes any number of members in pieces of any size', () => {
  fc.assert(
    fc.property(pieces, ({ seed, members, writer, piece, room, spanBytes, zeros }) => {
      const contents = members.map((bytes, i) => sample(bytes, seed + i));
      const written = contents.map((content, i) => writers[(writer + i) % writers.length]![1](content));
      const blob = Buffer.concat([...written, Buffer.alloc(zeros)]);
      const content = Buffer.concat(contents);
      const small = content.length > 50_000;
      const inflated = check(blob, content, {
        piece: small ? Math.max(piece, 500) : piece,
        room: small ? Math.max(room, 500) : room,
        spanBytes: small ? Math.max(spanBytes, 2000) : spanBytes,
      });
      assert.equal(inflated.dataEnd, blob.length - zeros);
    }),
    { numRuns: 60 },
  );
});

test('CheckpointingInflate begins a span at a member rather than inside of one', () => {
  const content = sample(64 << 10, 3);
  const blob = Buffer.concat(Array.from({ length: 40 }, () => gzipSync(content)));
  const all = Buffer.concat(Array.from({ length: 40 }, () => content));
  const { checkpoints } = check(blob, all, { spanBytes: 200_000, memberSpanBytes: 100_000 });
  assert.equal(checkpoints.length, 20);
  assert.ok(checkpoints.every(({ kind, window }) => kind === spanKinds.header && window.length === 0));
});

test('CheckpointingInflate takes a block that is longer than a span', () => {
  const content = Buffer.alloc(3_000_000, 'a');
  const { checkpoints } = check(gzipSync(content), content, { spanBytes: 10_000 });
  assert.equal(checkpoints.length, 1);
});

/** A member with the parts of a header that `flags` names. */
function member(content: Buffer, flags: number, { wrongCrc = false } = {}): Buffer {
  const header = [Buffer.from([0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255])];
  if (flags & 4) header.push(Buffer.from([5, 0]), Buffer.from('extra'));
  if (flags & 8) header.push(Buffer.from('name\0'));
  if (flags & 16) header.push(Buffer.from('comment\0'));
  if (flags & 2) {
    const crc = Buffer.alloc(2);
    crc.writeUInt16LE((crc32(Buffer.concat(header)) & 0xffff) ^ (wrongCrc ? 1 : 0));
    header.push(crc);
  }
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(content), 0);
  trailer.writeUInt32LE(content.length, 4);
  return Buffer.concat([...header, deflateRawSync(content), trailer]);
}

test('CheckpointingInflate reads headers with every part', () => {
  const content = sample(3000, 4);
  for (let flags = 0; flags < 32; flags++) {
    const blob = Buffer.concat([member(content, flags), member(content, 31 - flags)]);
    for (const piece of [1, 3, 100_000]) check(blob, Buffer.concat([content, content]), { piece });
  }
  const empty = Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 0, 0]);
  const blob = Buffer.concat([empty, member(content, 0).subarray(10)]);
  check(blob, content);
});

test('CheckpointingInflate refuses what is damaged, cut off or followed by something', () => {
  const content = sample(50_000, 5);
  const blob = gzipSync(content);
  const changed = (at: number) => {
    const copy = Buffer.from(blob);
    copy[at < 0 ? blob.length + at : at]! ^= 1;
    return copy;
  };
  assert.throws(() => inflate(changed(-1)), /the length of a member is wrong/);
  assert.throws(() => inflate(changed(-5)), /the checksum of a member does not match/);
  assert.throws(() => inflate(changed(0)), /no gzip header/);
  assert.throws(() => inflate(member(content, 2, { wrongCrc: true })), /checksum of the gzip header does not match/);
  assert.throws(() => inflate(Buffer.concat([blob, Buffer.from('x')])), /no gzip header/);
  assert.throws(() => inflate(Buffer.concat([blob, Buffer.from([0, 0, 7])])), /after the zeros/);
  assert.throws(() => inflate(Buffer.concat([blob, blob.subarray(0, 9)])), /cut off/);
  for (const end of [0, 5, 10, 1000, blob.length - 8, blob.length - 1]) {
    assert.throws(() => inflate(blob.subarray(0, end)), /cut off/, `${end} bytes`);
  }
});

test('readSpan gives the start of a span, of which the end is missing', () => {
  const content = sample(400_000, 6);
  const blob = gzipSync(content);
  const { checkpoints } = inflate(blob, { spanBytes: 100_000 });
  const span = checkpoints[1]!;
  const bytes = blob.subarray(span.blobOffset, span.blobOffset + 20_000);
  using inflater = zlib.inflater();
  for (const given of [inflater, undefined]) {
    const start = readSpan({ ...span, bytes, wanted: 5000 }, given).subarray(0, 5000);
    assert.ok(start.equals(content.subarray(span.outputOffset, span.outputOffset + 5000)));
  }
});

test('readSpan refuses what it cannot read', () => {
  const content = sample(400_000, 7);
  const blob = gzipSync(content);
  const span = inflate(blob, { spanBytes: 100_000 }).checkpoints[1]!;
  const bytes = Buffer.alloc(5000, 0xff);
  using inflater = zlib.inflater();
  for (const given of [inflater, undefined]) {
    assert.throws(() => readSpan({ ...span, bytes, wanted: 5000 }, given), { code: 'DataLoss' });
    const header = { ...span, kind: spanKinds.header, bytes, wanted: 5000 };
    assert.throws(() => readSpan(header, given), { code: 'DataLoss' });
    assert.throws(() => readSpan({ ...span, bytes, wanted: 2 ** 31 }, given), { code: 'ResourceExhausted' });
  }
});

/** A gzip member of deflate data that is there. */
function memberOf(deflate: readonly Buffer[], content: Buffer): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(content), 0);
  trailer.writeUInt32LE(content.length, 4);
  return Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]), ...deflate, trailer]);
}

test('CheckpointingInflate keeps of a window what the span refers to', () => {
  const content = sample(2_000_000, 8);
  const blob = gzipSync(content);
  for (const piece of [100, 5000, 3_000_000]) {
    const { checkpoints } = check(blob, content, { spanBytes: 300_000, piece, room: 100_000 });
    for (const { window, outputOffset } of checkpoints.slice(1, -1)) {
      const zeros = window.filter((byte, i) => byte === 0 && content[outputOffset - window.length + i] !== 0).length;
      assert.ok(zeros > 1000 && zeros < 32_000, `${zeros} bytes of a window are not there`);
    }
  }
});

test('CheckpointingInflate keeps all of a window if references come late in the data', () => {
  const first = sample(20_000, 9);
  const middle = sample(9000, 10);
  const stored = Array.from(middle, (byte) => Buffer.from([0, 1, 0, 0xfe, 0xff, byte]));
  const dictionary = Buffer.concat([first, middle]);
  const start = deflateRawSync(first, { finishFlush: constants.Z_SYNC_FLUSH });
  const content = Buffer.concat([dictionary, first]);
  const blob = memberOf([start, ...stored, deflateRawSync(first, { dictionary })], content);
  const { checkpoints } = check(blob, content, { spanBytes: 18_000, piece: 1, room: 300 });
  assert.equal(checkpoints[1]?.outputOffset, first.length);
});

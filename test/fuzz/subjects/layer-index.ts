import assert from 'node:assert/strict';
import { constants, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { ChunkColumns } from '../../../src/formats/chunk-columns.ts';
import { CheckpointingInflate } from '../../../src/formats/gzip/checkpointing-inflate.ts';
import { readSpan } from '../../../src/formats/gzip/read-span.ts';
import { decodeTail } from '../../../src/formats/layer-index-file/decode.ts';
import { LayerIndexWriter } from '../../../src/formats/layer-index-file/encode.ts';
import { magic, readTail, tailStart, writeTail } from '../../../src/formats/layer-index-file/footer.ts';
import type { EntryType, IndexEntry } from '../../../src/formats/layer-index.ts';
import { type Checkpoint, type SpanKind, spanKinds } from '../../../src/formats/blob-spans.ts';
import { buildTree } from '../../../src/formats/tree.ts';
import { openZlib } from '../../../src/kernel/zlib.ts';
import type { Subject } from '../subject.ts';

const layerDigest = `sha256:${'5a'.repeat(32)}`;

const file = fc.record({
  type: fc.constantFrom<EntryType>('reg', 'dir', 'symlink', 'hardlink', 'char', 'fifo'),
  size: fc.nat(9000),
  name: fc.string(),
});
const layer = fc.record({
  files: fc.array(file, { maxLength: 12 }),
  windows: fc.array(fc.uint8Array({ minLength: 1, maxLength: 90 }), { maxLength: 4 }),
  isGzip: fc.boolean(),
});

/** Where spans begin in the tar and in the layer. */
const spanBytes = 10_000;
const streamBytes = 1000;

/** An index of a layer that does not exist. */
function indexOf({ files, windows, isGzip }: typeof layer extends fc.Arbitrary<infer Layer> ? Layer : never): Buffer {
  const writer = new LayerIndexWriter(isGzip ? 'gzip' : 'none');
  const spans = isGzip ? windows : [];
  for (const [i, window] of spans.entries()) {
    const place = { blobOffset: (i + 1) * streamBytes, outputOffset: (i + 1) * spanBytes };
    writer.span({ kind: spanKinds.window, bits: i, window, ...place });
  }
  const chunks = new ChunkColumns();
  const entries: IndexEntry[] = files.map(({ type, size, name }, i) => {
    const span = Math.min(i, spans.length);
    const isFile = type === 'reg' && size > 0 && (!isGzip || i <= spans.length);
    const firstChunk = chunks.length;
    if (isFile) {
      const row = isGzip ? chunks.add(span * streamBytes, 5, size) : chunks.add(i * spanBytes, 0, size);
      chunks.streamEnd[row] = chunks.streamOffset[row]! + (isGzip ? 100 + i : size);
      chunks.hole[row] = 100 * (i % 3);
    }
    return {
      path: Buffer.from(name).toString('latin1'),
      type,
      mode: 0o644,
      uid: i,
      gid: 2 ** 32 - 1,
      mtimeSeconds: i * 1e9 - 5,
      mtimeNanoseconds: i,
      size: isFile ? size + 250 * (i % 3) : 0,
      linkTarget: type.endsWith('link') ? `a${i}` : '',
      devMajor: 0,
      devMinor: 0,
      xattrs: i % 3 === 0 ? new Map([['user.a', Buffer.alloc(i)]]) : undefined,
      firstChunk,
      chunkCount: isFile ? 1 : 0,
    };
  });
  const sizes = { blobBytes: isGzip ? 90_000 : 1_000_000, dataEnd: 80_000, tarBytes: 1_000_000 };
  return writer.finish({ layerDigest, ...sizes }, { entries, chunks });
}

/**
 * What a layer index is made of, without its digest, so that mutations are not found by that: a byte for every ten of
 * windows, and the tail as it is inflated.
 */
const inner = layer.map((made) => {
  const whole = indexOf(made);
  const { tail, start } = readTail(whole.length, whole.subarray(tailStart(whole.length, whole)));
  const windows = Buffer.alloc(2);
  windows.writeUInt16LE(start - magic.length);
  return Buffer.concat([windows, tail]);
});

const tail: Subject = {
  name: 'layer index',
  weight: 40,
  inputs: inner,
  tokens: ['\xff\xff\xff\xff\xff\xff\xff\x0f', '\x80\x80\x80\x01', '\x00', '\x01', '\x08', '\x0f', 'user.a'],
  run(input) {
    if (input.length < 2) return;
    const start = magic.length + input.readUInt16LE();
    const end = writeTail(input.subarray(2), start);
    const fileBytes = start + end.length;
    const { index, spans, blobBytes, tarBytes } = decodeTail(end, { layerDigest, fileBytes });
    for (let i = 0; i < spans.length; i++) {
      assert.ok(spans.streamOffset[i]! < spans.streamEnd[i]! && spans.streamEnd[i]! <= blobBytes);
      assert.ok(spans.outputOffset[i]! <= tarBytes && spans.bits[i]! < 8);
      assert.ok(spans.windowOffset[i]! + spans.windowBytes[i]! <= start);
    }
    const { chunks } = index;
    for (let row = 0; row < chunks.length; row++) {
      assert.ok(chunks.size[row]! > 0 && chunks.innerOffset[row]! >= 0);
      assert.ok(chunks.streamOffset[row]! < chunks.streamEnd[row]! && Number.isSafeInteger(chunks.streamEnd[row]!));
    }
    buildTree(index);
  },
};

const wholeFile: Subject = {
  name: 'layer index file',
  weight: 10,
  inputs: layer.map(indexOf),
  tokens: ['lzpindex', '\x01\0\0\0', '\xff\xff\xff\xff'],
  run(input) {
    const end = input.subarray(Math.max(0, tailStart(input.length, input)));
    decodeTail(end, { layerDigest, fileBytes: input.length });
  },
};

const maxRatio = 1100;

const gzip: Subject = {
  name: 'gzip checkpoints',
  weight: 5,
  inputs: fc
    .array(
      fc.record({
        content: fc.oneof(
          fc.uint8Array({ maxLength: 3000 }),
          fc.nat(90_000).map((bytes) => Buffer.alloc(bytes, 'lazy')),
        ),
        level: fc.nat(9),
        strategy: fc.constantFrom(constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED, constants.Z_HUFFMAN_ONLY),
      }),
      { minLength: 1, maxLength: 3 },
    )
    .map((members) =>
      Buffer.concat(members.map(({ content, level, strategy }) => gzipSync(content, { level, strategy, memLevel: 1 }))),
    ),
  tokens: ['\x1f\x8b\x08\0\0\0\0\0\0\xff', '\0\0\xff\xff', '\x03\0', '\0\0\0\0\0\0\0\0'],
  run(input, random) {
    const zlib = openZlib()!;
    const checkpoints: Checkpoint[] = [];
    const outputs: Buffer[] = [];
    using inflating = new CheckpointingInflate(zlib.inflater(), { spanBytes: 1 + random.below(3000) });
    const pieceBytes = 1 + random.below(3000);
    const room = 1 + random.below(9000);
    let error: unknown;
    try {
      for (let start = 0; start < input.length; start += pieceBytes) {
        const piece = input.subarray(start, start + pieceBytes);
        for (let at = 0, isFull = false; at < piece.length || isFull; ) {
          const output = Buffer.alloc(room);
          const step = inflating.step(piece, at, output, 0);
          at += step.consumed;
          isFull = step.produced === room;
          outputs.push(output.subarray(0, step.produced));
          if (step.checkpoint !== undefined) checkpoints.push(step.checkpoint);
        }
      }
      inflating.end();
    } catch (thrown) {
      error = thrown;
    }
    const content = Buffer.concat(outputs);
    assert.ok(content.length <= input.length * maxRatio + 1000);
    using inflater = zlib.inflater();
    for (const span of checkpoints.slice(0, 5)) {
      const wanted = Math.min(2000, content.length - span.outputOffset);
      const bytes = input.subarray(span.blobOffset);
      const read = readSpan({ ...span, bytes, wanted }, random.below(2) === 0 ? inflater : undefined);
      assert.ok(read.subarray(0, wanted).equals(content.subarray(span.outputOffset, span.outputOffset + wanted)));
    }
    if (error !== undefined) throw error;
  },
};

const span: Subject = {
  name: 'gzip spans',
  weight: 20,
  inputs: fc
    .uint8Array({ minLength: 1, maxLength: 3000 })
    .map((content) => gzipSync(content, { level: content[0]! % 10 })),
  tokens: ['\x1f\x8b\x08\0\0\0\0\0\0\xff'],
  run(input, random) {
    using inflater = openZlib()!.inflater();
    const window = Buffer.alloc(random.below(32_769), 'window');
    const kind = random.below(3) as SpanKind;
    const [bits, wanted] = [random.below(8), random.below(70_000)];
    const given = { bytes: input, kind, bits, window: kind === spanKinds.window ? window : Buffer.alloc(0), wanted };
    assert.ok(readSpan(given, random.below(2) === 0 ? inflater : undefined).length <= wanted + 1100 * input.length);
  },
};

export const layerIndex: readonly Subject[] = [tail, wholeFile, gzip, span];

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { constants, gzipSync } from 'node:zlib';
import { plainEntry } from '../../../../src/formats/layer-index.ts';
import { ChunkColumns, digestBytes } from '../../../../src/formats/chunk-columns.ts';
import { readSpan } from '../../../../src/formats/gzip/read-span.ts';
import { decodeTail, type LayerIndexFile } from '../../../../src/formats/layer-index-file/decode.ts';
import { LayerIndexWriter } from '../../../../src/formats/layer-index-file/encode.ts';
import { layerIndexFormat } from '../../../../src/formats/layer-index-file/format.ts';
import { footerBytes, magic, tailStart, writeTail } from '../../../../src/formats/layer-index-file/footer.ts';
import { NumberWriter } from '../../../../src/formats/layer-index-file/numbers.ts';
import { spanOf } from '../../../../src/formats/layer-index-file/span-table.ts';
import { openWindow } from '../../../../src/formats/layer-index-file/stored-windows.ts';
import { type SpanKind } from '../../../../src/formats/blob-spans.ts';
import { openZlib } from '../../../../src/kernel/zlib.ts';
import { type BuildOptions, buildLayerIndex, type BuiltIndex } from '../../../support/layer-index-builder.ts';
import { arbitraryLayer, tarOf } from '../../../support/random-layer.ts';
import { buildTar } from '../../../support/tar-builder.ts';
import fc from '../../../support/properties.ts';

function open(file: Buffer, layerDigest: string): LayerIndexFile {
  const start = tailStart(file.length, file.subarray(-footerBytes));
  return decodeTail(file.subarray(start), { layerDigest, fileBytes: file.length });
}

/** Reads every chunk as a lazy layer does, in an order of its own, and compares it with the tar. */
async function check(blob: Buffer, options?: BuildOptions): Promise<BuiltIndex & { opened: LayerIndexFile }> {
  const built = await buildLayerIndex(blob, options);
  const opened = open(built.file, built.layerDigest);
  assert.deepEqual(
    opened.index.entries.map((entry) => ({ ...entry, xattrs: [...(entry.xattrs ?? [])] })),
    built.entries.map((entry) => ({ ...entry, xattrs: [...(entry.xattrs ?? [])] })),
  );
  assert.deepEqual(new Uint8Array(opened.spans.buffer), new Uint8Array(built.spans.buffer));
  assert.deepEqual([opened.blobBytes, opened.tarBytes], [blob.length, built.tar.length]);
  const { chunks } = opened.index;
  const rows = Array.from({ length: chunks.length }, (_, row) => (row * 7919) % chunks.length);
  using inflater = openZlib()!.inflater();
  let position = 0;
  for (const [i, row] of rows.entries()) {
    const content = readChunk(blob, built.file, opened, row, i % 2 === 0 ? inflater : undefined);
    const digest = Buffer.from(chunks.digest.subarray(row * digestBytes, (row + 1) * digestBytes));
    assert.ok(hash('sha256', content, 'buffer').equals(digest), `chunk ${row} differs`);
  }
  for (let row = 0; row < chunks.length; row++) {
    const content = readChunk(blob, built.file, opened, row, inflater);
    position = built.tar.indexOf(content, position);
    assert.notEqual(position, -1);
  }
  return { ...built, opened };
}

function readChunk(
  blob: Buffer,
  file: Buffer,
  { index: { chunks }, spans }: LayerIndexFile,
  row: number,
  inflater: Parameters<typeof readSpan>[1],
): Buffer {
  const bytes = blob.subarray(chunks.streamOffset[row], chunks.streamEnd[row]);
  const start = chunks.innerOffset[row]!;
  const wanted = start + chunks.size[row]!;
  const span = spanOf(spans, chunks.streamOffset[row]!);
  if (span < 0) return readSpan({ bytes, kind: 2, bits: 0, window: Buffer.alloc(0), wanted }, inflater);
  const stored = file.subarray(spans.windowOffset[span], spans.windowOffset[span]! + spans.windowBytes[span]!);
  const digest = spans.windowDigest.subarray(span * digestBytes, (span + 1) * digestBytes);
  const window = stored.length === 0 ? Buffer.alloc(0) : openWindow(stored, digest);
  const kind = spans.kind[span] as SpanKind;
  return readSpan({ bytes, kind, bits: spans.bits[span]!, window, wanted }, inflater).subarray(start, wanted);
}

/** Content that deflate makes smaller, but not by much. */
function text(bytes: number, seed: number): Buffer {
  const data = Buffer.alloc(bytes);
  let state = seed + 1;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[i] = state >>> 31 === 0 && i > 999 ? data[i - 1 - ((state >>> 8) % 999)]! : 97 + ((state >>> 24) % 20);
  }
  return data;
}

const sizes = [0, 1, 511, 512, 513, 4096, 70_000, 300_000, 1_000_000, 3, 40_000];
const tar = buildTar(sizes.map((size, i) => ({ name: `file-${i}`, data: text(size, i) })));

const writers: Readonly<Record<string, (tar: Buffer) => Buffer>> = {
  'gzip -1': (tar) => gzipSync(tar, { level: 1 }),
  'gzip -6': (tar) => gzipSync(tar),
  'gzip -9': (tar) => gzipSync(tar, { level: 9 }),
  'stored blocks': (tar) => gzipSync(tar, { level: 0 }),
  'fixed codes': (tar) => gzipSync(tar, { strategy: constants.Z_FIXED }),
  'members of 64 KiB': (tar) =>
    Buffer.concat(
      Array.from({ length: Math.ceil(tar.length / 65536) }, (_, i) =>
        gzipSync(tar.subarray(65536 * i, 65536 * (i + 1))),
      ),
    ),
  'two members': (tar) => Buffer.concat([gzipSync(tar.subarray(0, 900_001)), gzipSync(tar.subarray(900_001))]),
  'trailing zeros': (tar) => Buffer.concat([gzipSync(tar), Buffer.alloc(1000)]),
  'no compression': (tar) => tar,
};

for (const [name, write] of Object.entries(writers)) {
  test(`LayerIndexWriter makes an index by which every chunk is read: ${name}`, async () => {
    const { opened } = await check(write(tar), { spanBytes: 100_000, chunkBytes: 65536 });
    assert.equal(opened.spans.length > 8, name !== 'no compression');
    await check(write(tar));
  });
}

test('decodeTail gives what LayerIndexWriter was told, of any layer', async () => {
  await fc.assert(
    fc.asyncProperty(
      arbitraryLayer(),
      fc.boolean(),
      fc.integer({ min: 600, max: 9000 }),
      async (files, zip, spanBytes) => {
        const archive = tarOf(files);
        await check(zip ? gzipSync(archive, { memLevel: 1 }) : archive, { spanBytes, chunkBytes: 700 });
      },
    ),
    { numRuns: 50 },
  );
});

test('decodeTail refuses a file in which any bit of the tail is another one', async () => {
  const { file, layerDigest } = await buildLayerIndex(gzipSync(tar), { spanBytes: 200_000 });
  const start = tailStart(file.length, file);
  for (let bit = start * 8; bit < file.length * 8; bit += 5) {
    const changed = Buffer.from(file);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    if (!changed.subarray(-12, -8).equals(Buffer.alloc(4))) continue; // not used yet
    assert.throws(() => open(changed, layerDigest), { name: 'LazypullError' }, `bit ${bit}`);
  }
});

test('decodeTail refuses what is cut off and the index of another layer', async () => {
  const { file, layerDigest } = await buildLayerIndex(gzipSync(tar));
  for (const bytes of [0, 10, footerBytes, file.length - 1]) {
    assert.throws(() => open(file.subarray(0, bytes), layerDigest), { code: 'DataLoss' });
  }
  assert.throws(() => open(file.subarray(1), layerDigest), { code: 'DataLoss', message: /cut off/ });
  assert.throws(() => open(file, `sha256:${'0'.repeat(64)}`), { code: 'FailedPrecondition' });
  const want = { layerDigest, fileBytes: file.length, blobBytes: 5 };
  assert.throws(() => decodeTail(file.subarray(tailStart(file.length, file)), want), { code: 'FailedPrecondition' });
});

test('openWindow refuses a window in which any bit is another one', async () => {
  const { file, layerDigest } = await buildLayerIndex(gzipSync(tar), { spanBytes: 200_000 });
  const { spans } = open(file, layerDigest);
  const row = 1;
  const stored = file.subarray(spans.windowOffset[row], spans.windowOffset[row]! + spans.windowBytes[row]!);
  const digest = spans.windowDigest.subarray(row * digestBytes, (row + 1) * digestBytes);
  assert.ok(openWindow(stored, digest).length === 32 << 10);
  const changed = Buffer.from(stored);
  changed[100]! ^= 4;
  assert.throws(() => openWindow(changed, digest), { code: 'DataLoss' });
});

test('LayerIndexWriter makes no index of a layer that cannot be read from the middle', () => {
  const writer = new LayerIndexWriter('gzip');
  const layer = { layerDigest: `sha256:${'a'.repeat(64)}`, blobBytes: 1000, dataEnd: 1000, tarBytes: 2 ** 30 };
  const empty = { entries: [], chunks: opened.index.chunks };
  assert.throws(() => writer.finish(layer, empty), { code: 'ResourceExhausted' });
});

const { file: emptyFile, layerDigest: emptyDigest } = await buildLayerIndex(gzipSync(buildTar([])));
const opened = open(emptyFile, emptyDigest);

test('LayerIndexWriter makes an index of an empty layer', () => {
  assert.deepEqual([opened.index.entries.length, opened.spans.length], [0, 1]);
});

test('layerIndexFormat shows every file of the tar, also those that eStargz would take out', () => {
  const entry = (path: string) => ({ ...plainEntry, path });
  const { root } = layerIndexFormat.treeOf({
    entries: [entry('stargz.index.json'), entry('.no.prefetch.landmark')],
    chunks: new ChunkColumns(),
  });
  assert.deepEqual([...(root.children?.keys() ?? [])].toSorted(), ['.no.prefetch.landmark', 'stargz.index.json']);
});

/** What a tail says of a layer of 1000 bytes, which puts out 9000, in three spans. */
const honest = {
  compression: 1,
  dataEnd: 990,
  tarBytes: 9000,
  /** Byte of the layer and of the tar less those of the span before, kind and bits, stored window. */
  spans: [
    [0, 0, 0, 0],
    [300, 3000, 8 | 3, 40],
    [300, 3000, 0, 0],
  ],
  windowBytes: 40,
  /** Length, and distance from the chunk before. */
  chunks: [
    [2000, 512],
    [2000, 500],
  ],
  /** Before each chunk. */
  holes: [0, 0],
  /** Where in the layer each chunk ends, less where its span begins. */
  ends: [300, 290],
  size: 4000,
  mode: 0o644,
  type: 0,
};

function openTail(lies: Partial<typeof honest>, version = 2): LayerIndexFile {
  const said = { ...honest, ...lies };
  const tail = new NumberWriter();
  const digest = Buffer.alloc(32, 7);
  tail.byte(said.compression);
  tail.bytes(digest);
  for (const number of [1000, said.dataEnd, said.tarBytes, said.spans.length, said.chunks.length, 1])
    tail.number(number);
  for (const [blobOffset, outputOffset, head, window] of said.spans) {
    tail.number(blobOffset!);
    tail.number(outputOffset!);
    tail.byte(head!);
    tail.number(window!);
  }
  for (const [, , , window] of said.spans) if (window !== 0) tail.bytes(digest);
  for (const [size] of said.chunks) tail.number(size!);
  for (const [, gap] of said.chunks) tail.number(gap!);
  for (let i = 0; i < said.chunks.length; i++) tail.bytes(digest);
  if (version > 1) for (const hole of said.holes) tail.number(hole);
  if (version > 1 && said.compression !== 0) for (const end of said.ends) tail.number(end);
  tail.byte(said.type);
  for (const number of [said.mode, 0, 0, 0, 0, said.size, said.chunks.length, 0, 0, 1, 0, 0]) tail.number(number);
  tail.bytes(Buffer.from('f'));
  const start = magic.length + said.windowBytes;
  const end = writeTail(tail.finish(), start);
  end.writeUInt32LE(version, end.length - 16);
  return decodeTail(end, { layerDigest: `sha256:${digest.toString('hex')}`, fileBytes: start + end.length });
}

test('decodeTail takes what is consistent', () => {
  const { spans, index } = openTail({});
  assert.deepEqual([...spans.streamOffset], [0, 300, 600]);
  assert.deepEqual([...spans.streamEnd], [301, 600, 990]);
  assert.deepEqual([...index.chunks.streamOffset.subarray(0, 2)], [0, 300]);
  assert.deepEqual([...index.chunks.innerOffset.subarray(0, 2)], [512, 12]);
  assert.deepEqual([...index.chunks.streamEnd.subarray(0, 2)], [300, 590]);
});

test('decodeTail takes version 1, which has no holes, and chunks that end with their spans', () => {
  const { chunks } = openTail({}, 1).index;
  assert.deepEqual([...chunks.streamEnd.subarray(0, 2)], [301, 600]);
  assert.deepEqual([...chunks.hole.subarray(0, 2)], [0, 0]);
  assert.throws(() => openTail({ size: 4001 }, 1), { code: 'DataLoss' });
  assert.throws(() => openTail({}, 3), { code: 'Unimplemented' });
});

test('decodeTail takes files with holes before, between and behind their chunks', () => {
  const { chunks, entries } = openTail({ holes: [5, 7], size: 4100 }).index;
  assert.deepEqual([...chunks.hole.subarray(0, 2), entries[0]?.size], [5, 7, 4100]);
});

const [first, second, third] = honest.spans;
const lies: Readonly<Record<string, Partial<typeof honest>>> = {
  'an unknown compression': { compression: 3 },
  'data behind the end of the layer': { dataEnd: 1001 },
  'a span behind the data': { dataEnd: 600 },
  'a checkpoint at the place of the one before': { spans: [first!, second!, [0, 3000, 0, 0]] },
  'a span that puts nothing out': { spans: [first!, second!, [300, 0, 0, 0]] },
  'a first span that begins elsewhere': { spans: [[1, 0, 0, 0], second!, third!] },
  'a span that puts out more than may be': { tarBytes: 2 ** 40 },
  'spans behind the end of the tar': { tarBytes: 5000 },
  'a window of 2 GiB': { spans: [first!, [300, 3000, 8, 2 ** 31], third!] },
  'windows that are longer than their room': { windowBytes: 39 },
  'windows that are shorter than their room': { windowBytes: 41 },
  'a span without the window that it needs': { spans: [first!, [300, 3000, 8, 0], third!], windowBytes: 0 },
  'a chunk that ends before its span': { ends: [0, 290] },
  'a chunk that ends behind its span': { ends: [302, 290] },
  'holes that make a file too long': { holes: [0, 1] },
  'holes that are longer than may be': { holes: [2 ** 40, 0], size: 2 ** 40 + 4000 },
  'a file that ends with more zeros than may be': { size: 2 ** 40 },
  'bits before a header': { spans: [first!, second!, [300, 3000, 5, 0]] },
  'a span of an unknown kind': { spans: [first!, [300, 3000, 16, 40], third!] },
  'no spans of what is compressed': { spans: [], windowBytes: 0 },
  'a chunk that is in two spans': {
    chunks: [
      [2000, 512],
      [2000, 100],
    ],
  },
  'a chunk behind the end of the tar': {
    chunks: [
      [2000, 512],
      [2000, 5000],
    ],
  },
  'an empty chunk': {
    chunks: [
      [4000, 3000],
      [0, 0],
    ],
  },
  'a file that is shorter than its chunks': { size: 3999 },
  'a mode that there is not': { mode: 0o10000 },
  'a type that there is not': { type: 7 },
  'a directory with chunks': { type: 1 },
  'a number past 2^53': { size: 2 ** 55 },
};

for (const [name, lie] of Object.entries(lies)) {
  test(`decodeTail refuses ${name}`, () => {
    assert.throws(() => openTail(lie), { code: 'DataLoss', message: /^The layer index is damaged: / });
  });
}

test('decodeTail refuses a tar that is longer than the layer which is not compressed', () => {
  const tar = {
    compression: 0,
    spans: [],
    windowBytes: 0,
    chunks: [
      [100, 512],
      [100, 0],
    ],
    size: 200,
  };
  assert.equal(openTail({ ...tar, tarBytes: 1000 }).index.chunks.streamEnd[0], 612);
  assert.throws(() => openTail({ ...tar, tarBytes: 1001 }), { code: 'DataLoss' });
});

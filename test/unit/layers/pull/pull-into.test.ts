import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import type { ChunkTable } from '../../../../src/chunks/chunk-table.ts';
import { LazypullError } from '../../../../src/errors.ts';
import { decodeTail, type LayerIndexFile } from '../../../../src/formats/layer-index-file/decode.ts';
import { tailStart } from '../../../../src/formats/layer-index-file/footer.ts';
import { spansCodec } from '../../../../src/formats/layer-index-file/spans-codec.ts';
import { buildPlainTree } from '../../../../src/formats/tree.ts';
import { planDisk } from '../../../../src/fronts/erofs/plan.ts';
import { type ImageEntry, readImage } from '../../../support/erofs-image.ts';
import { pullBlob, type PulledBlob } from '../../../support/pulled-layer.ts';
import {
  buildTar,
  buildEntry,
  inPieces,
  metadataEntry,
  paxRecord,
  type TarSpec,
} from '../../../support/tar-builder.ts';

let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lazypull-pull-'));
});
after(() => rm(directory, { recursive: true }));

const noise = (bytes: number): Buffer => randomBytes(bytes);
const text = (bytes: number): Buffer => Buffer.from('all work and no play makes a dull layer\n'.repeat(bytes / 40));

/** Files of all sizes that matter: nothing, less than a block, a block, more, chunks, more than a span. */
const files: TarSpec[] = [
  { name: './', typeflag: '5', mode: 0o755 },
  { name: './d/', typeflag: '5', mode: 0o1777, uid: 3, gid: 4, mtime: 5 },
  { name: './d/empty' },
  { name: './d/one', data: Buffer.from('1'), mode: 0o4711, uid: 70_000, mtime: 1_700_000_000.5 },
  { name: './d/block', data: noise(4096) },
  { name: './d/more', data: noise(4097) },
  { name: './d/text', data: text(900_000) },
  { name: './d/large', data: Buffer.concat([text(5 << 20), noise(3_000_001), Buffer.alloc(2 << 20)]) },
  { name: './d/zeros', data: Buffer.alloc(300_000) },
  { name: './d/after', data: Buffer.from('after') },
  { name: './link', typeflag: '2', linkName: 'd/one' },
  { name: './hard', typeflag: '1', linkName: './d/more' },
  { name: './fifo', typeflag: '6' },
  { name: './null', typeflag: '3', devMajor: 1, devMinor: 3 },
  { name: './xattr', data: Buffer.from('x'), pax: { 'SCHILY.xattr.user.a': 'b' } },
];
const tar = buildTar(files);

/** What a layer of `files` must be. */
function assertIsOfFiles(entries: Map<string, ImageEntry>): void {
  assert.deepEqual([...entries.keys()].toSorted(), [
    '',
    'd',
    'd/after',
    'd/block',
    'd/empty',
    'd/large',
    'd/more',
    'd/one',
    'd/text',
    'd/zeros',
    'fifo',
    'hard',
    'link',
    'null',
    'xattr',
  ]);
  for (const { name, data = Buffer.alloc(0), typeflag = '0' } of files) {
    if (typeflag !== '0') continue;
    const entry = entries.get(name.slice(2))!;
    assert.ok(entry.content.equals(data), name);
    assert.equal(entry.size, data.length);
  }
  const { mode, uid, mtimeSeconds, mtimeNanoseconds } = entries.get('d/one')!;
  assert.deepEqual([mode, uid, mtimeSeconds, mtimeNanoseconds], [0o104711, 70_000, 1_700_000_000n, 500_000_000]);
  assert.equal(entries.get('hard')!.ino, entries.get('d/more')!.ino);
  assert.equal(entries.get('hard')!.links, 2);
  assert.equal(entries.get('link')!.content.toString(), 'd/one');
  assert.deepEqual(entries.get('xattr')!.xattrs, { 'user.a': '62' });
}

const members = (...parts: Buffer[]): Buffer => Buffer.concat(parts.map((part) => gzipSync(part)));
const cut = (bytes: number): Buffer[] =>
  Array.from({ length: Math.ceil(tar.length / bytes) }, (_, i) => tar.subarray(i * bytes, (i + 1) * bytes));

const blobs: Record<string, Buffer> = {
  'gzip of one member': gzipSync(tar),
  'gzip of stored blocks': gzipSync(tar, { level: 0 }),
  'gzip of the fastest kind': gzipSync(tar, { level: 1, memLevel: 1, windowBits: 9 }),
  'gzip of fixed codes': gzipSync(tar, { strategy: constants.Z_FIXED }),
  'gzip of many members': members(...cut(64 << 10)),
  'gzip with empty members and zeros behind': Buffer.concat([
    members(Buffer.alloc(0), tar, Buffer.alloc(0)),
    Buffer.alloc(1000),
  ]),
  'zstd of one frame': zstdCompressSync(tar),
  'zstd of frames of several blocks': Buffer.concat(cut(300_000).map((part) => zstdCompressSync(part))),
  'zstd of many frames': Buffer.concat(cut(1 << 20).map((part) => zstdCompressSync(part))),
  'tar that is not compressed': tar,
};

for (const [name, blob] of Object.entries(blobs)) {
  test(`pullInto makes a disk of a ${name}`, async () => {
    for (const pieceBytes of [1 << 20, 100_003]) {
      const { image, table, target } = await pullBlob(directory, blob, { pieceBytes });
      assertIsOfFiles(readImage(image));
      assert.equal((await stat(target.diskPath)).size, image.length);
      for (let chunk = 0; chunk < table.length; chunk++) {
        const at = table.diskOffset[chunk]!;
        const content = image.subarray(at, at + table.size[chunk]!);
        assert.equal(
          hash('sha256', content),
          Buffer.from(table.digest.subarray(chunk * 32, chunk * 32 + 32)).toString('hex'),
        );
        assert.ok(table.streamOffset[chunk]! < table.streamEnd[chunk]! && table.streamEnd[chunk]! <= target.blobBytes);
        assert.ok(chunk === 0 || table.diskOffset[chunk - 1]! + table.size[chunk - 1]! <= at);
      }
    }
  });
}

/** The index that was made of a blob. */
async function indexOf({ target, index }: PulledBlob): Promise<LayerIndexFile> {
  const file = await readFile(target.indexPath!);
  const want = { layerDigest: target.digest, fileBytes: file.length };
  const decoded = decodeTail(file.subarray(tailStart(file.length, file)), want);
  const { buffer: codecData } = decoded.spans;
  assert.deepEqual(index, { digest: `sha256:${hash('sha256', file)}`, bytes: file.length, codecData });
  return decoded;
}

test('pullInto makes an index of which the same disk can be planned, chunk by chunk', async () => {
  const { 'tar that is not compressed': _, ...compressed } = blobs;
  for (const [name, blob] of Object.entries(blobs)) {
    const pulled = await pullBlob(directory, blob);
    if (name in compressed) assert.ok(endsInSpans(pulled.table), name);
    const { index, blobBytes, tarBytes } = await indexOf(pulled);
    assert.deepEqual([blobBytes, tarBytes], [blob.length, pulled.tarBytes], name);
    const { chunks, paths } = planDisk(buildPlainTree(index), { digest: pulled.target.digest });
    const { table } = pulled;
    for (const column of ['size', 'streamOffset', 'streamEnd', 'innerOffset', 'digest'] as const) {
      assert.deepEqual(chunks[column], table[column], `${name}: ${column}`);
    }
    assert.deepEqual(paths, [
      './d/one',
      './d/block',
      './d/more',
      './d/text',
      './d/large',
      './d/zeros',
      './d/after',
      './xattr',
    ]);
  }
});

test('pullInto tells how much of the blob each chunk needs, and no less', async () => {
  for (const [name, blob] of Object.entries(blobs)) {
    const { table, index, target } = await pullBlob(directory, blob);
    assert.ok('codecData' in index, name);
    const file = await readFile(target.indexPath!);
    const readIndex = (start: number, end: number): Buffer => file.subarray(start, end);
    for (let chunk = 0; chunk < table.length; chunk++) {
      const { start, end } = spansCodec.bytesNeeded(table, chunk);
      const bytes = blob.subarray(start, end);
      const chunks = { first: chunk, last: chunk + 1 };
      const run = { table, chunks, bytes, blobOffset: start, codecData: index.codecData, readIndex };
      for await (const unpacked of spansCodec.unpack(run)) assert.ok('content' in unpacked, `${name}: chunk ${chunk}`);
    }
  }
});

/** Whether chunks of a span end one behind another, not all where it ends. */
function endsInSpans({ length, streamOffset, streamEnd }: ChunkTable): boolean {
  for (let chunk = 1; chunk < length; chunk++) {
    if (streamOffset[chunk] === streamOffset[chunk - 1] && streamEnd[chunk]! > streamEnd[chunk - 1]!) return true;
  }
  return false;
}

test('pullInto cuts files at checkpoints, and needs none', async () => {
  const data = Buffer.from(noise(8 << 20).toString('hex'));
  const blob = gzipSync(
    buildTar([
      { name: 'a', data },
      { name: 'b', data: text(1000) },
    ]),
  );
  const { table, image } = await pullBlob(directory, blob);
  assert.ok(new Set(table.streamOffset).size > 2);
  assert.ok(readImage(image).get('a')!.content.equals(data));
  const { table: plain, image: same } = await pullBlob(directory, blob, { inflater: undefined });
  assert.deepEqual(new Set(plain.streamOffset), new Set([0]));
  assert.ok(same.equals(image));
});

test('pullInto places chunks of a tar that is not compressed where they are in the blob', async () => {
  const { table, image } = await pullBlob(directory, tar);
  for (let chunk = 0; chunk < table.length; chunk++) {
    const [at, from, size] = [table.diskOffset[chunk]!, table.streamOffset[chunk]!, table.size[chunk]!];
    assert.ok(image.subarray(at, at + size).equals(tar.subarray(from, from + size)));
    assert.equal(table.streamEnd[chunk], from + size);
  }
});

test('pullInto keeps the last entry of a name, and gives back what the others took', async () => {
  const specs: TarSpec[] = [
    { name: 'a', data: noise(1 << 20) },
    { name: 'b', data: Buffer.from('b') },
    { name: 'kept', typeflag: '1', linkName: 'b' },
    { name: 'b', data: Buffer.from('second') },
    { name: 'a', data: Buffer.from('last') },
    { name: 'gone', data: noise(2 << 20) },
    { name: 'gone', typeflag: '2', linkName: 'a' },
  ];
  const { image, target } = await pullBlob(directory, gzipSync(buildTar(specs)));
  const entries = readImage(image);
  assert.equal(entries.get('a')!.content.toString(), 'last');
  assert.equal(entries.get('b')!.content.toString(), 'second');
  assert.equal(entries.get('kept')!.content.toString(), 'b');
  assert.equal(entries.get('gone')!.content.toString(), 'a');
  const { blocks } = await stat(target.diskPath);
  assert.ok(blocks * 512 < 256 << 10, `${blocks}`);
});

test('pullInto takes hard links to later entries, whiteouts, and global headers', async () => {
  const specs = [
    metadataEntry('g', paxRecord('comment', 'nothing')),
    buildEntry({ name: 'early', typeflag: '1', linkName: 'late' }),
    buildEntry({ name: 'late', data: Buffer.from('late') }),
    buildEntry({ name: 'dir/.wh.file' }),
    buildEntry({ name: 'opaque/.wh..wh..opq' }),
    buildEntry({ name: 'stargz.index.json', data: Buffer.from('{}') }),
    buildEntry({ name: '.no.prefetch.landmark', data: Buffer.from('x') }),
    buildEntry({ name: '/', data: Buffer.from('the root is no file') }),
    Buffer.alloc(1024),
  ];
  const entries = readImage((await pullBlob(directory, gzipSync(Buffer.concat(specs)))).image);
  assert.equal(entries.get('early')!.content.toString(), 'late');
  assert.equal(entries.get('dir/file')!.mode, 0o020000);
  assert.deepEqual(entries.get('opaque')!.xattrs, { 'trusted.overlay.opaque': '79' });
  assert.equal(entries.get('stargz.index.json')!.content.toString(), '{}');
  assert.equal(entries.get('.no.prefetch.landmark')!.content.toString(), 'x');
});

/** A sparse file as GNU tar writes it with --format=pax: the map before the data. */
function sparse(name: string, size: number, pieces: readonly { offset: number; data: Buffer }[]): TarSpec {
  const map = [pieces.length, ...pieces.flatMap(({ offset, data }) => [offset, data.length])].join('\n');
  const head = Buffer.alloc(Math.ceil((map.length + 1) / 512) * 512);
  head.write(`${map}\n`);
  const pax = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': name,
    'GNU.sparse.realsize': `${size}`,
  };
  return { name: `GNUSparseFile.0/${name}`, data: Buffer.concat([head, ...pieces.map(({ data }) => data)]), pax };
}

test('pullInto leaves the holes of sparse files holes', async () => {
  const [first, second] = [noise(10_000), noise(512)];
  const pieces = [
    { offset: 8192, data: first },
    { offset: 40 << 20, data: second },
    { offset: 64 << 20, data: Buffer.alloc(0) },
  ];
  const specs = [
    sparse('holes', 64 << 20, pieces),
    sparse('nothing', 32 << 20, [{ offset: 32 << 20, data: Buffer.alloc(0) }]),
    { name: 'after', data: Buffer.from('after') },
  ];
  const pulled = await pullBlob(directory, gzipSync(buildTar(specs)));
  const { image, target, table } = pulled;
  const entries = readImage(image);
  const expected = Buffer.alloc(64 << 20);
  for (const { offset, data } of pieces) expected.set(data, offset);
  assert.ok(entries.get('holes')!.content.equals(expected));
  assert.ok(entries.get('nothing')!.content.equals(Buffer.alloc(32 << 20)));
  assert.equal(entries.get('after')!.content.toString(), 'after');
  assert.equal(table.length, 3);
  assert.ok((await stat(target.diskPath)).blocks * 512 < 1 << 20);
  const planned = planDisk(buildPlainTree((await indexOf(pulled)).index), { digest: target.digest });
  const again = Buffer.alloc(planned.diskBytes);
  again.set(planned.metadata);
  for (let chunk = 0; chunk < table.length; chunk++) {
    const from = table.diskOffset[chunk]!;
    image.copy(again, planned.chunks.diskOffset[chunk], from, from + table.size[chunk]!);
  }
  const byIndex = readImage(again);
  assert.ok(byIndex.get('holes')!.content.equals(expected));
  assert.ok(byIndex.get('nothing')!.content.equals(Buffer.alloc(32 << 20)));
  assert.equal(byIndex.get('after')!.content.toString(), 'after');
});

test('pullInto makes a disk of a layer without data, and of an empty tar', async () => {
  const { image, table } = await pullBlob(directory, gzipSync(buildTar([{ name: 'd/', typeflag: '5' }])));
  assert.deepEqual([...readImage(image).keys()], ['', 'd']);
  assert.equal(table.length, 0);
  const empty = await pullBlob(directory, gzipSync(Buffer.alloc(1024)));
  assert.deepEqual([...readImage(empty.image).keys()], ['']);
});

async function rejects(blob: Buffer, code: string, message: RegExp, digestOf = blob): Promise<void> {
  await assert.rejects(
    pullBlob(directory, digestOf, { blob: inPieces(blob) }),
    (error) => error instanceof LazypullError && error.code === code && message.test(error.message),
  );
}

test('pullInto refuses a blob that is another one, cut off or damaged', async () => {
  const blob = blobs['gzip of one member']!;
  await rejects(gzipSync(buildTar([])), 'DataLoss', /instead of|another digest/, blob);
  const flipped = Buffer.from(tar);
  flipped[tar.length - 1024 - 100]! ^= 1;
  await rejects(flipped, 'DataLoss', /another digest/, tar);
  await rejects(blob.subarray(0, blob.length - 5), 'DataLoss', /cut off/, blob);
  await rejects(tar.subarray(0, 100_000), 'DataLoss', /ends inside/, tar);
  const damaged = Buffer.from(blob);
  damaged.fill(0xff, 5000, 5100);
  await rejects(damaged, 'DataLoss', /damaged|Cannot read the tar archive/, blob);
});

test('pullInto refuses what only unpacking can show', async () => {
  const missing = buildTar([{ name: 'a', typeflag: '1', linkName: 'not/here' }]);
  await rejects(gzipSync(missing), 'Unimplemented', /not\/here/);
  await rejects(gzipSync(buildTar([{ name: 'a', typeflag: 'V' }])), 'InvalidArgument', /cannot be in a layer/);
});

test('pullInto ends between two pieces when it is told to', async () => {
  let pieces = 0;
  const check = (): void => {
    if (++pieces > 3) throw new LazypullError('Canceled', 'Enough');
  };
  await assert.rejects(pullBlob(directory, tar, { check, pieceBytes: 4096 }), { code: 'Canceled' });
});

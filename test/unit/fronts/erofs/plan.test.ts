import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planDisk } from '../../../../src/fronts/erofs/plan.ts';
import type { DiskPlan } from '../../../../src/fronts/front.ts';
import { readToc, readTocJson } from '../../../../src/formats/estargz/toc.ts';
import { buildTree } from '../../../../src/formats/tree.ts';
import { imageOf, readImage } from '../../../support/erofs-image.ts';
import { estargzBlob, type FileSpec } from '../../../support/estargz-blob.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

function planOf(files: readonly FileSpec[], chunkBytes?: number, streamBytes?: number) {
  const blob = estargzBlob(files, chunkBytes, streamBytes);
  const plan = planDisk(buildTree(readToc(blob.toc, blob.context)), { digest });
  return { plan, blob, image: imageOf(plan, blob.bytes) };
}

function imageOfFiles(...files: FileSpec[]) {
  return readImage(planOf(files).image);
}

/** The plan of rows whose data need not exist. */
function planOfRows(rows: readonly object[], dataEnd = 2 ** 52): DiskPlan {
  const json = Buffer.from(JSON.stringify({ entries: rows }), 'latin1');
  return planDisk(buildTree(readTocJson(json, dataEnd)), { digest });
}

const bytes = (length: number, seed = 1) => Buffer.from(Array.from({ length }, (_, i) => (i * 31 + seed * 7) & 0xff));

test('planDisk writes a superblock that says what old kernels understand', () => {
  const { plan } = planOf([{ path: 'f', type: 'reg', content: bytes(5000) }]);
  const { metadata } = plan;
  const block = Buffer.from(metadata.buffer, metadata.byteOffset + 1024, 128);
  assert.equal(block.readUInt32LE(0), 0xe0f5e1e2);
  assert.equal(block.readUInt32LE(8), 3);
  assert.equal(block[12], 12);
  assert.equal(block.readUInt16LE(14), 36);
  assert.equal(block.readUInt32LE(16), 3);
  assert.equal(block.readUInt32LE(36), 0);
  assert.equal(block.subarray(48, 64).toString('hex'), '0123456789abcdef0123456789abcdef');
  assert.equal(block.readUInt32LE(80), 0);
  assert.equal(metadata.length, 4096);
  assert.equal(plan.diskBytes, 3 * 4096);
  assert.equal(block.readUInt32LE(16), 3);
  assert.throws(() => planDisk(buildTree(readTocJson(Buffer.from('{}'), 1)), { digest: 'x' }), {
    code: 'InvalidArgument',
  });
});

test('planDisk keeps the attributes of every type of file', () => {
  const common = {
    mode: 0o7751,
    uid: 100_000,
    gid: 4_294_967_294,
    mtimeSeconds: 2 ** 33,
    mtimeNanoseconds: 999_999_999,
  };
  const image = imageOfFiles(
    { path: 'reg', type: 'reg', content: bytes(3), ...common },
    { path: 'empty', type: 'reg', ...common },
    { path: 'dir', type: 'dir', ...common },
    { path: 'symlink', type: 'symlink', linkTarget: 'to/\xff', ...common },
    { path: 'char', type: 'char', devMajor: 5, devMinor: 1, ...common },
    { path: 'block', type: 'block', devMajor: 259, devMinor: 70_000, ...common },
    { path: 'fifo', type: 'fifo', ...common },
    { path: '.wh.gone', type: 'reg' },
  );
  const types = { reg: 0o10, empty: 0o10, dir: 0o4, symlink: 0o12, char: 0o2, block: 0o6, fifo: 0o1 };
  for (const [path, type] of Object.entries(types)) {
    const inode = image.get(path)!;
    assert.equal(inode.mode, type * 0o10000 + (path === 'symlink' ? 0o777 : 0o7751), path);
    assert.deepEqual([inode.uid, inode.gid], [100_000, 4_294_967_294], path);
    assert.deepEqual([inode.mtimeSeconds, inode.mtimeNanoseconds], [2n ** 33n, 999_999_999], path);
    assert.equal(inode.links, path === 'dir' ? 2 : 1, path);
  }
  assert.deepEqual(image.get('reg')!.content, bytes(3));
  assert.equal(image.get('empty')!.size, 0);
  assert.equal(image.get('symlink')!.content.toString('latin1'), 'to/\xff');
  assert.equal(image.get('char')!.rdev, 0x0501);
  assert.equal(image.get('block')!.rdev, (70_000 & 0xff) | (259 << 8) | ((70_000 & ~0xff) << 12));
  assert.deepEqual([image.get('gone')!.mode, image.get('gone')!.rdev], [0o020000, 0]);
  assert.equal(image.get('')!.links, 3);
});

test('planDisk gives hard links one inode', () => {
  const image = imageOfFiles(
    { path: 'a', type: 'hardlink', linkTarget: 'd/b' },
    { path: 'd/b', type: 'reg', content: bytes(10) },
    { path: 'd/c', type: 'hardlink', linkTarget: 'a' },
  );
  const { ino, links } = image.get('a')!;
  assert.equal(links, 3);
  assert.equal(image.get('d/b')!.ino, ino);
  assert.equal(image.get('d/c')!.ino, ino);
});

test('planDisk lays data out in blob order, each file from a block on, chunks without gaps', () => {
  const { plan, image } = planOf(
    [
      { path: 'z', type: 'reg', content: bytes(10_000, 1) },
      { path: 'a', type: 'reg', content: bytes(1, 2) },
      { path: 'm/b', type: 'reg', content: bytes(4096, 3) },
    ],
    3000,
  );
  const first = plan.metadata.length;
  const { chunks } = plan;
  assert.deepEqual([...chunks.size], [3000, 3000, 3000, 1000, 1, 3000, 1096]);
  const offsets = [0, 3000, 6000, 9000, 12_288, 16_384, 19_384];
  assert.deepEqual(
    [...chunks.diskOffset].map((offset) => offset - first),
    offsets,
  );
  assert.equal(plan.diskBytes - first, 20_480);
  assert.ok(chunks.streamOffset.every((offset, row) => row === 0 || offset > chunks.streamOffset[row - 1]!));
  assert.deepEqual([...plan.firstChunks], [0, 4, 5]);
  assert.deepEqual(plan.paths, ['z', 'a', 'm/b']);
  const files = readImage(image);
  for (const [path, seed, length] of [
    ['z', 1, 10_000],
    ['a', 2, 1],
    ['m/b', 3, 4096],
  ] as const) {
    assert.deepEqual(files.get(path)!.content, bytes(length, seed));
  }
});

test('planDisk reads chunks that share a stream', () => {
  const files = Array.from(
    { length: 20 },
    (_, i): FileSpec => ({ path: `f${i}`, type: 'reg', content: bytes(700 + i, i) }),
  );
  const { image, plan } = planOf(files, 300, 2000);
  assert.ok(new Set(plan.chunks.streamOffset).size < plan.chunks.length / 2);
  for (const { path, content } of files) assert.deepEqual(readImage(image).get(path)!.content, content);
});

test('planDisk keeps a file together whose chunks are scattered in the blob', () => {
  const chunkDigest = digest;
  const { chunks } = planOfRows([
    { name: 'a', type: 'reg', size: 6, chunkSize: 3, offset: 900, chunkDigest },
    { name: 'a', type: 'chunk', chunkOffset: 3, offset: 100, chunkDigest },
    { name: 'b', type: 'reg', size: 1, offset: 500, chunkDigest },
    { name: 'c', type: 'reg', size: 1, offset: 500, innerOffset: 10, chunkDigest },
  ]);
  assert.deepEqual([...chunks.streamOffset], [500, 500, 900, 100]);
  assert.deepEqual([...chunks.innerOffset], [0, 10, 0, 0]);
  assert.deepEqual([...chunks.streamEnd], [900, 900, 2 ** 52, 500]);
  const first = chunks.diskOffset[0]!;
  assert.deepEqual(
    [...chunks.diskOffset].map((offset) => offset - first),
    [0, 4096, 8192, 8195],
  );
});

test('planDisk has no room for the data of entries that a later one replaced', () => {
  const chunkDigest = digest;
  const plan = planOfRows([
    { name: 'a', type: 'reg', size: 5000, offset: 100, chunkDigest },
    { name: 'a', type: 'reg', size: 1, offset: 200, chunkDigest },
    { name: '.prefetch.landmark', type: 'reg', size: 1, offset: 300, chunkDigest },
  ]);
  assert.equal(plan.chunks.length, 1);
  assert.equal(plan.chunks.streamOffset[0], 200);
  assert.equal(plan.diskBytes, plan.metadata.length + 4096);
});

test('planDisk sorts names by their bytes and fills directories over many blocks', () => {
  const names = ['!', '-', 'a', '.a', '..a', 'A', '\xff', '\xc3\xa4', 'n'.repeat(255), 'a.', '~', ' '];
  for (let i = 0; i < 3000; i++) names.push(`${'x'.repeat(i % 40)}${i}`);
  const files = names.map((path): FileSpec => ({ path: `d/${path}`, type: 'reg', mode: 0o644 }));
  const image = imageOfFiles(...files);
  for (const { path } of files) assert.equal(image.get(path)?.mode, 0o100644, path);
  assert.equal(image.size, files.length + 2);
});

test('planDisk places directories and symlinks of every length around a block', () => {
  const files: FileSpec[] = [];
  for (const length of [1, 4000, 4031, 4032, 4033, 4094, 4095]) {
    files.push({ path: `s${length}`, type: 'symlink', linkTarget: 't'.repeat(length) });
  }
  for (let length = 3900; length <= 4200; length += 3) {
    for (let left = length - 27, i = 0; left > 12; i++) {
      const name = Math.min(left - 12, 255);
      files.push({ path: `d${length}/${String.fromCharCode(0x61 + i).repeat(name)}`, type: 'fifo' });
      left -= 12 + name;
    }
  }
  const image = imageOfFiles(...files);
  for (const { path, type, linkTarget } of files) {
    assert.ok(image.has(path), path);
    if (type === 'symlink') assert.equal(image.get(path)!.content.toString(), linkTarget);
  }
});

test('planDisk stores the attributes that Linux would, of any length', () => {
  const acl = Buffer.from('02000000' + '01000600ffffffff04000400ffffffff10000400ffffffff20000400ffffffff', 'hex');
  const xattrs = {
    'user.a': Buffer.from('1'),
    'user.': Buffer.from('no name'),
    'security.x': Buffer.alloc(0),
    'security.capability': Buffer.from('0100000200ff'.padEnd(40, '0'), 'hex'),
    'system.posix_acl_access': acl,
    'system.posix_acl_default': Buffer.from('not an acl'),
    'system.nfs4_acl': Buffer.from('x'),
    'com.apple.quarantine': Buffer.from('x'),
    [`user.${'n'.repeat(250)}`]: bytes(65_535),
  };
  const kept = { ...xattrs } as Record<string, Buffer>;
  for (const name of ['user.', 'system.posix_acl_default', 'system.nfs4_acl', 'com.apple.quarantine'])
    delete kept[name];
  const expected = Object.fromEntries(Object.entries(kept).map(([name, value]) => [name, value.toString('hex')]));
  const image = imageOfFiles(
    { path: 'f', type: 'reg', mode: 0o644, content: bytes(5), xattrs },
    { path: 'd', type: 'dir', mode: 0o644, xattrs },
    { path: 's', type: 'symlink', linkTarget: 'target', xattrs: { 'security.x': Buffer.from('y') } },
    { path: 'none', type: 'dir', xattrs: { 'other.x': Buffer.from('y') } },
  );
  assert.deepEqual(image.get('f')!.xattrs, expected);
  assert.deepEqual(image.get('f')!.content, bytes(5));
  assert.deepEqual(image.get('d')!.xattrs, expected);
  assert.deepEqual(image.get('s')!.xattrs, { 'security.x': '79' });
  assert.equal(image.get('s')!.content.toString(), 'target');
  assert.deepEqual(image.get('none')!.xattrs, {});
});

test('planDisk refuses attributes that have no room', () => {
  const refused = (xattrs: Record<string, Buffer>) =>
    assert.throws(() => planOf([{ path: 'f', type: 'reg', xattrs }]), { code: 'ResourceExhausted' });
  refused({ 'user.a': Buffer.alloc(65_536) });
  refused({ [`user.${'n'.repeat(251)}`]: Buffer.alloc(1) });
  refused(Object.fromEntries([1, 2, 3, 4, 5].map((i) => [`user.${i}`, Buffer.alloc(60_000)])));
});

test('planDisk plans a file of 8 GiB, and refuses what EROFS cannot address', () => {
  const chunkBytes = 1 << 22;
  const file = (size: number) =>
    Array.from({ length: size / chunkBytes }, (_, i) => ({
      name: 'f',
      type: i === 0 ? 'reg' : 'chunk',
      size: i === 0 ? size : 0,
      chunkOffset: i * chunkBytes,
      chunkSize: chunkBytes,
      offset: 100 + i * 5000,
      chunkDigest: digest,
    }));
  const plan = planOfRows(file(2 ** 33));
  assert.equal(plan.diskBytes, 2 ** 33 + plan.metadata.length);
  assert.equal(plan.chunks.length, 2048);
  assert.equal(plan.chunks.diskOffset.at(-1)! + chunkBytes, plan.diskBytes);

  assert.throws(() => planOfRows(['a', 'b', 'c'].flatMap(hugeFile)), { code: 'ResourceExhausted' });
});

/** The rows of a file of 5.5 TiB. */
function hugeFile(name: string) {
  const chunkBytes = 1 << 26;
  return Array.from({ length: 90_000 }, (_, i) => ({
    name,
    type: i === 0 ? 'reg' : 'chunk',
    size: i === 0 ? 90_000 * chunkBytes : 0,
    chunkOffset: i * chunkBytes,
    chunkSize: chunkBytes,
    chunkDigest: digest,
  }));
}

test('planDisk gives the same bytes for the same layer, and shares its table between threads', () => {
  const files: FileSpec[] = [
    { path: 'b', type: 'reg', content: bytes(100) },
    { path: 'a/c', type: 'reg', content: bytes(200) },
  ];
  const one = planOf(files).plan;
  const two = planOf(files).plan;
  assert.deepEqual(one, two);
  assert.ok(one.chunks.digest.buffer instanceof SharedArrayBuffer);
  assert.equal(one.chunks.digest.buffer, one.chunks.size.buffer);
});

test('planDisk gives an empty layer a disk', () => {
  const plan = planOfRows([], 45);
  assert.equal(plan.diskBytes, 4096);
  assert.equal(plan.chunks.length, 0);
  assert.deepEqual([...readImage(Buffer.from(plan.metadata)).keys()], ['']);
});

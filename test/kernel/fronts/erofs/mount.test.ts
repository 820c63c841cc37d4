import assert from 'node:assert/strict';
import { lstat, mkdir, mkdtemp, open, readdir, readlink, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DiskPlan } from '../../../../src/fronts/front.ts';
import { planDisk } from '../../../../src/fronts/erofs/plan.ts';
import { treeName } from '../../../../src/fronts/front.ts';
import { readToc, readTocJson } from '../../../../src/formats/estargz/toc.ts';
import { buildTree } from '../../../../src/formats/tree.ts';
import { mountImage, unmount } from '../../../../src/kernel/mount.ts';
import { estargzBlob, type FileSpec } from '../../../support/estargz-blob.ts';
import { imageOf } from '../../../support/erofs-image.ts';
import { run } from '../../../support/program.ts';
import { arbitraryLayer, tarOf } from '../../../support/random-layer.ts';
import { describeTar, describeTree } from '../../../support/tree.ts';
import fc from '../../../support/properties.ts';

const digest = `sha256:${'ab'.repeat(32)}`;

/** An image that fsck.erofs accepts and the kernel has mounted, until it is disposed of. */
class MountedImage implements AsyncDisposable {
  readonly directory: string;
  /** Where the image is mounted. */
  readonly point: string;
  /** Where the layer is in it. */
  readonly root: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.point = join(directory, 'mnt');
    this.root = join(this.point, treeName);
  }

  static async open(plan: DiskPlan, blob?: Buffer): Promise<MountedImage> {
    const mounted = new MountedImage(await mkdtemp(join(tmpdir(), 'lazypull-erofs-')));
    const path = join(mounted.directory, 'image');
    const file = await open(path, 'w');
    await file.writeFile(blob === undefined ? plan.metadata : imageOf(plan, blob));
    await file.truncate(plan.diskBytes);
    await file.close();
    await run('fsck.erofs', [path]);
    await mkdir(mounted.point);
    await mountImage('erofs', path, mounted.point);
    return mounted;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await unmount(this.point);
    await rm(this.directory, { recursive: true });
  }
}

function planOf(files: readonly FileSpec[], chunkBytes?: number, streamBytes?: number) {
  const blob = estargzBlob(files, chunkBytes, streamBytes);
  return { plan: planDisk(buildTree(readToc(blob.toc, blob.context)), { digest }), blob: blob.bytes };
}

async function mountFiles(files: readonly FileSpec[]): Promise<MountedImage> {
  const { plan, blob } = planOf(files);
  return MountedImage.open(plan, blob);
}

test('a mounted layer is what GNU tar makes of its tar', async () => {
  await fc.assert(
    fc.asyncProperty(
      arbitraryLayer(),
      fc.integer({ min: 500, max: 9000 }),
      fc.constantFrom(0, 3000, 100_000),
      async (files, chunkBytes, streamBytes) => {
        const { plan, blob } = planOf(files, chunkBytes, streamBytes);
        await using image = await MountedImage.open(plan, blob);
        const tar = join(image.directory, 'layer.tar');
        await writeFile(tar, tarOf(files));
        const unpacked = await describeTar(tar, image.directory);
        assert.deepEqual(await describeTree(image.root), unpacked);
      },
    ),
    { numRuns: 30 },
  );
});

test('a directory has a link for itself, its name and each directory in it', async () => {
  await using image = await mountFiles([
    { path: 'a/b/c', type: 'dir' },
    { path: 'a/d', type: 'dir' },
    { path: 'a/file', type: 'reg' },
  ]);
  const links = await Promise.all(['', 'a', 'a/b', 'a/b/c'].map((path) => lstat(join(image.root, path))));
  assert.deepEqual(
    links.map(({ nlink }) => nlink),
    [3, 4, 3, 2],
  );
});

test('the kernel finds every name in a directory of 100,000', async () => {
  const files = Array.from({ length: 100_000 }, (_, i): FileSpec => ({ path: `d/${i * 7919}`, type: 'reg' }));
  await using image = await mountFiles(files);
  const names = await readdir(join(image.root, 'd'));
  assert.equal(names.length, files.length);
  assert.deepEqual(new Set(names), new Set(files.map(({ path }) => path.slice(2))));
  for (let i = 0; i < files.length; i += 97) await lstat(join(image.root, files[i]!.path));
  await assert.rejects(lstat(join(image.root, 'd/not there')), { code: 'ENOENT' });
});

test('the kernel reads directories and symlinks of every length around a block', async () => {
  const files: FileSpec[] = [];
  for (const length of [1, 59, 60, 4000, 4032, 4033, 4094, 4095]) {
    files.push({ path: `s${length}`, type: 'symlink', linkTarget: 't'.repeat(length) });
    for (const xattr of [10, 3000, 4090, 20_000]) {
      const xattrs = { 'security.x': Buffer.alloc(xattr, 1) };
      files.push({ path: `s${length}-${xattr}`, type: 'symlink', linkTarget: 't'.repeat(length), xattrs });
    }
  }
  const name = 'n'.repeat(240);
  for (let count = 1; count < 40; count++) {
    for (let i = 0; i < count; i++) files.push({ path: `d${count}/${name}${i}`, type: 'fifo' });
  }
  await using image = await mountFiles(files);
  for (const { path, linkTarget } of files) {
    const full = join(image.root, path);
    if (linkTarget === undefined) assert.ok((await lstat(full)).isFIFO());
    else assert.equal(await readlink(full), linkTarget);
  }
  for (let count = 1; count < 40; count++) {
    assert.equal((await readdir(join(image.root, `d${count}`))).length, count);
  }
});

test('the kernel sees whiteouts, opaque directories and access control lists', async () => {
  const acl = Buffer.from('0200000001000600ffffffff04000400ffffffff10000400ffffffff20000400ffffffff', 'hex');
  await using image = await mountFiles([
    { path: 'd/.wh.gone', type: 'reg' },
    { path: 'd/.wh..wh..opq', type: 'reg' },
    { path: 'acl', type: 'reg', mode: 0o644, xattrs: { 'system.posix_acl_access': acl } },
    { path: 'empty', type: 'dir' },
  ]);
  assert.deepEqual(await readdir(join(image.root, 'd')), ['gone']);
  const lines = await describeTree(image.root);
  assert.ok(lines.includes('dev ./d/gone 0:0'), lines.join('\n'));
  assert.ok(
    lines.some((line) => /file: \.\/d\n?.trusted\.overlay\.opaque=0x79/s.test(line)),
    lines.join('\n'),
  );
  assert.ok(
    lines.some((line) => /file: \.\/acl.*system\.posix_acl_access=0x02000000/s.test(line)),
    lines.join('\n'),
  );
});

test('overlayfs takes mounted layers as lower directories', async () => {
  await using lower = await mountFiles([
    { path: 'd/a', type: 'reg', content: Buffer.from('a') },
    { path: 'd/b', type: 'reg', content: Buffer.from('b') },
    { path: 'o/hidden', type: 'reg' },
    { path: 'gone', type: 'reg' },
  ]);
  await using upper = await mountFiles([
    { path: 'd/.wh.a', type: 'reg' },
    { path: 'd/c', type: 'reg', content: Buffer.from('c') },
    { path: 'o/.wh..wh..opq', type: 'reg' },
    { path: 'o/seen', type: 'reg' },
    { path: '.wh.gone', type: 'reg' },
  ]);
  const target = join(upper.directory, 'overlay');
  await mkdir(target);
  await run('mount', ['-t', 'overlay', '-o', `ro,lowerdir=${upper.root}:${lower.root}`, 'overlay', target]);
  try {
    assert.deepEqual((await readdir(target)).sort(), ['d', 'o']);
    assert.deepEqual((await readdir(join(target, 'd'))).sort(), ['b', 'c']);
    assert.deepEqual(await readdir(join(target, 'o')), ['seen']);
  } finally {
    await unmount(target);
  }
});

test('overlayfs copies up files of every type, whatever attributes the layer names', async () => {
  const list = '0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff';
  const xattrs = Object.fromEntries(
    Object.entries({
      'user.a': '31',
      'user.overlay.origin': '31',
      'trusted.a': '31',
      'trusted.overlay.metacopy': '',
      'trusted.overlay.redirect': '2f78',
      'security.a': '31',
      'security.capability': '0100000200200000000000000000000000000000',
      'system.posix_acl_access': list,
      'system.posix_acl_default': list,
      'system.nfs4_acl': '31',
      'other.a': '31',
    }).map(([name, value]) => [name, Buffer.from(value, 'hex')]),
  );
  const types = ['reg', 'dir', 'symlink', 'fifo', 'char', 'block'] as const;
  const files = types.flatMap((type) => {
    const about = { type, xattrs, mode: 0o644, ...(type === 'symlink' ? { linkTarget: 'nowhere' } : {}) };
    const device = type === 'char' || type === 'block' ? { devMajor: 1, devMinor: 3 } : {};
    return ['mv', 'chown', 'ln', 'chmod', 'touch'].map((path) => ({ path: `${type}-${path}`, ...about, ...device }));
  });
  await using lower = await mountFiles([
    ...files,
    { path: 'reg-linked', type: 'hardlink', linkTarget: 'reg-mv', xattrs },
  ]);
  const [target, upper, work] = ['overlay', 'upper', 'work'].map((name) => join(lower.directory, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [target, upper, work]) await mkdir(path);
  const options = `lowerdir=${lower.root},upperdir=${upper},workdir=${work}`;
  await run('mount', ['-t', 'overlay', '-o', options, 'overlay', target]);
  try {
    const at = (name: string) => join(target, name);
    for (const type of types) {
      if (type !== 'dir') await run('mv', [at(`${type}-mv`), at(`${type}-moved`)]);
      await run('chown', ['-h', '7:8', at(`${type}-chown`)]);
      if (type !== 'dir') await run('ln', ['-f', '-P', at(`${type}-ln`), at(`${type}-second`)]);
      if (type !== 'symlink') await run('chmod', ['0700', at(`${type}-chmod`)]);
      await run('touch', ['-h', '-d', '@5', at(`${type}-touch`)]);
      const { uid, mtimeMs } = await lstat(at(`${type}-chown`));
      assert.deepEqual([uid, mtimeMs], [7, 0], type);
      assert.equal((await lstat(at(`${type}-touch`))).mtimeMs, 5000, type);
    }
    await run('touch', [at('reg-linked')]);
    const shown = await run('getfattr', [
      '--absolute-names',
      '-h',
      '-d',
      '-m',
      '-',
      at('reg-touch'),
      at('symlink-touch'),
    ]);
    assert.match(
      shown,
      /reg-touch\nsecurity\.a=.*\nsecurity\.capability=.*\nsystem\.posix_acl_access=.*\nuser\.a=.*\nuser\.overlay\.origin=/,
    );
    assert.match(shown, /symlink-touch\nsecurity\.a=.*\nsecurity\.capability=.*\n\n/);
  } finally {
    await unmount(target);
  }
});

test('the kernel mounts a file of 8 GiB', async () => {
  const chunkBytes = 1 << 22;
  const rows = Array.from({ length: 2048 }, (_, i) => ({
    name: 'f',
    type: i === 0 ? 'reg' : 'chunk',
    size: i === 0 ? 2 ** 33 : 0,
    chunkOffset: i * chunkBytes,
    chunkSize: chunkBytes,
    offset: 100 + i,
    chunkDigest: digest,
  }));
  const index = readTocJson(Buffer.from(JSON.stringify({ entries: rows })), 10_000);
  await using image = await MountedImage.open(planDisk(buildTree(index), { digest }));
  assert.equal((await lstat(join(image.root, 'f'))).size, 2 ** 33);
  await using file = await open(join(image.root, 'f'));
  const { bytesRead, buffer } = await file.read(Buffer.alloc(100, 1), 0, 100, 2 ** 33 - 50);
  assert.equal(bytesRead, 50);
  assert.deepEqual(buffer.subarray(0, 50), Buffer.alloc(50));
});

test('df leaves a layer out: it is no disk that is full', async () => {
  await using image = await mountFiles([{ path: 'f', type: 'reg', content: Buffer.alloc(100_000, 1) }]);
  const { blocks, bfree, bavail, files, ffree } = await statfs(image.root);
  assert.deepEqual({ blocks, bfree, bavail }, { blocks: 0, bfree: 0, bavail: 0 });
  assert.ok(ffree / files > 0.99, 'not all inodes are in use either');
  assert.ok(!(await run('df', [])).includes(image.root));
});

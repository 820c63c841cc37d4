import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SnapshotStore } from '../../../src/snapshots/store.ts';
import { cachedDigest, cachedLayer, cachedTocDigest } from '../../support/cached-layer.ts';

const main = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));
const hourMs = 3_600_000;

/** The root of a daemon that does not run, and the command line with it. */
async function setUp(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-cache-'));
  t.after(() => rm(root, { recursive: true }));
  const cache = (...args: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      execFile(process.execPath, [main, 'cache', ...args, '--root', root], (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
      );
    });
  return { root, cache };
}

test('lazypull cache ls shows what is kept; prune removes it by age and size, but not what a snapshot names', async (t) => {
  const { root, cache } = await setUp(t);
  for (const [name, hours] of Object.entries({ a: 49, b: 30, c: 5 })) {
    await cachedLayer(root, name, Date.now() - hours * hourMs);
  }
  await mkdir(join(root, 'snapshotter'));
  using store = new SnapshotStore(join(root, 'snapshotter', 'snapshots.db'));
  const labels = {
    'containerd.io/snapshot/remote/stargz.reference': 'r.example/a:1',
    'containerd.io/snapshot/remote/stargz.digest': cachedDigest('a'),
    'containerd.io/snapshot/stargz/toc.digest': cachedTocDigest,
  };
  store.create({ id: store.allocateId(), name: 'x', kind: 'committed', parent: '', labels, remote: true });
  store.close();

  const listed = await cache('ls');
  assert.match(
    listed.stdout,
    new RegExp(
      [
        '^LAYER +ON DISK +HERE +LAST USED',
        'a{12}  4\\.\\d MB   3\\.1 MB of 4\\.2 MB  in use',
        'b{12}  4\\.\\d MB   3\\.1 MB of 4\\.2 MB  1d ago',
        'c{12}  4\\.\\d MB   3\\.1 MB of 4\\.2 MB  5h ago',
        '3 layers, 12\\.\\d MB on disk, 8\\.\\d MB not in use\n$',
      ].join('\n'),
    ),
  );
  const none = await cache('prune', '--keep-bytes', '1GB');
  assert.equal(none.stdout, 'removed 0 layers, 0 B\n');
  const old = await cache('prune', '--older-than', '1d', '--json');
  assert.equal((JSON.parse(old.stdout) as { digest: string }).digest, cachedDigest('b'));
  await mkdir(join(root, 'traces'));
  await writeFile(join(root, 'traces', `${'c'.repeat(64)}.json`), '{}');
  const all = await cache('prune', '--all');
  assert.match(all.stdout, /^sha256:c{64} {2}4\.\d MB\nremoved 1 layer, 4\.\d MB\n$/);
  assert.deepEqual(await readdir(join(root, 'layers')), ['a'.repeat(64)]);
  assert.ok(!(await readdir(root)).includes('traces'));
});

test('lazypull cache prune removes nothing if the records of what is in use are lost', async (t) => {
  const { root, cache } = await setUp(t);
  await cachedLayer(root, 'a', 0);
  await mkdir(join(root, 'clients/buildkit/snapshotter/snapshots/1/fs'), { recursive: true });
  const { code, stderr } = await cache('prune', '--all');
  assert.equal(code, 1);
  assert.match(stderr, /Cannot use ".*buildkit.*snapshots.db": it is missing/);
  assert.deepEqual(await readdir(join(root, 'layers')), ['a'.repeat(64)]);
});

test('lazypull cache verify tells which layer is damaged, once', async (t) => {
  const { root, cache } = await setUp(t);
  await cachedLayer(root, 'a', 0);
  const { diskPath } = await cachedLayer(root, 'b', 1000);
  await using disk = await open(diskPath, 'r+');
  await disk.write(Buffer.from('rot'), 0, 3, 5000);
  const { code, stdout } = await cache('verify');
  assert.equal(stdout, `${cachedDigest('a')}  ok, 3 parts\n${cachedDigest('b')}  1 of 3 parts damaged\n`);
  assert.equal(code, 1);
  const again = await cache('verify', '--json');
  assert.deepEqual(
    again.stdout.split('\n', 2).map((line) => (JSON.parse(line) as { found: object }).found),
    [
      { parts: 3, damaged: 0 },
      { parts: 2, damaged: 0 },
    ],
  );
  assert.equal(again.code, 0);
});

test('lazypull cache says what is wrong with its options and with the root', async (t) => {
  const { root, cache } = await setUp(t);
  const missing = await cache('ls');
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /There is no cache of layers in /);
  const before = await readdir(root);
  await writeFile(join(root, 'lock'), '');
  assert.match((await cache('ls')).stderr, /There is no cache of layers in /);
  assert.deepEqual(before, [], 'files were made in a directory that is no root');
  await rm(root, { recursive: true });
  await writeFile(root, '');
  assert.match((await cache('ls')).stderr, /Cannot read the root directory .*ENOTDIR/);
  await rm(root);
  await mkdir(root);
  await mkdir(join(root, 'layers'));
  assert.match((await cache('prune', '--older-than', '5')).stderr, /Cannot use the time "5": it must be like/);
  assert.match((await cache('prune', '--keep-bytes', '50%')).stderr, /Cannot use the size "50%"/);
});

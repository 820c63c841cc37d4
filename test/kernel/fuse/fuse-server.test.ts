import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { access, mkdir, mkdtemp, open, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { openConnection } from '../../../src/fuse/connection.ts';
import type { FlatFile } from '../../../src/fuse/flat-file.ts';
import { FuseServer } from '../../../src/fuse/fuse-server.ts';
import { pathOf } from '../../../src/kernel/detached-mount.ts';
import { mountImage, mountThroughLoop, mountTable, unmount } from '../../../src/kernel/mount.ts';
import { silentLog } from '../../../src/log.ts';
import { until } from '../../support/until.ts';

const run = promisify(execFile);
const rangeBytes = 256 * 1024;

/** A sparse local copy of `content` of which nothing is resident, and a way to fill ranges. */
async function sparseFile(directory: string, content: Buffer) {
  const path = join(directory, 'disk');
  const local = await open(path, 'w+');
  await local.truncate(content.length);
  const count = Math.ceil(content.length / rangeBytes);
  const file: FlatFile = {
    nodeId: 77,
    name: 'layer',
    bytes: content.length,
    path,
    rangeOffset: new Float64Array(new SharedArrayBuffer(count * 8)),
    rangeBytes: new Float64Array(new SharedArrayBuffer(count * 8)),
    resident: new Uint8Array(new SharedArrayBuffer(count)),
    read: new Uint8Array(new SharedArrayBuffer(count)),
    readFromMs: 0,
  };
  file.rangeOffset.set(Array.from({ length: count }, (_, i) => i * rangeBytes));
  file.rangeBytes.fill(rangeBytes);
  let fetches = 0;
  const fetch = async (offset: number, size: number) => {
    fetches++;
    for (let i = Math.floor(offset / rangeBytes); i * rangeBytes < offset + size; i++) {
      await local.write(content, i * rangeBytes, Math.min(rangeBytes, content.length - i * rangeBytes), i * rangeBytes);
      Atomics.store(file.resident, i, 1);
    }
    return [];
  };
  return { file, fetch, fetches: () => fetches, close: () => local.close() };
}

async function served(t: TestContext, content: Buffer, answerWithinMs?: number) {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-fuse-'));
  const sparse = await sparseFile(directory, content);
  const connection = { ...(await openConnection()), answerWithinMs };
  const root = pathOf(connection.root);
  const lookUp = (name: string): Promise<void> => access(join(root, name));
  const server = new FuseServer(connection, () => Promise.reject(new Error('no such file')), lookUp, silentLog);
  let closing: Promise<boolean> | undefined;
  const close = () => (closing ??= server.close());
  t.after(async () => {
    await close();
    await sparse.close();
    await rm(directory, { recursive: true });
  });
  server.add(sparse.file, sparse.fetch);
  return { ...sparse, server, close, directory, root, path: join(root, 'layer') };
}

const sha256 = (data: Buffer) => createHash('sha256').update(data).digest('hex');

test('FuseServer serves a file that fills as it is read, and asks for each range once', async (t) => {
  const content = randomBytes(5 * 1024 * 1024 + 123);
  const { path, fetches } = await served(t, content);
  assert.equal((await stat(path)).size, content.length);
  assert.equal(sha256(await readFile(path)), sha256(content));
  const before = fetches();
  assert.ok(before > 0);
  assert.equal(sha256(await readFile(path)), sha256(content));
  assert.equal(fetches(), before);
});

test('FuseServer is given up as a whole if a program is just looking at a file, and says so if it stays', async (t) => {
  const looked = await served(t, randomBytes(rangeBytes));
  const glance = await open(looked.path);
  const isFree = looked.close();
  await glance.close();
  assert.equal(await isFree, true);

  const held = await served(t, randomBytes(rangeBytes));
  await using _ = await open(held.path);
  assert.equal(await held.close(), false);
});

test('FuseServer lists nothing, so that whoever walks the root directory goes on', async (t) => {
  const { root, path } = await served(t, randomBytes(rangeBytes));
  assert.deepEqual(await readdir(root), []);
  assert.ok((await stat(path)).isFile());
});

test('FuseServer answers EIO when a range cannot be fetched, and asks again at the next read', async (t) => {
  const content = randomBytes(rangeBytes);
  const { server, path, file, fetch } = await served(t, content);
  server.remove(file.nodeId);
  let broken = true;
  server.add(file, (offset, size) => (broken ? Promise.reject(new Error('no')) : fetch(offset, size)));
  await assert.rejects(readFile(path), { code: 'EIO' });
  broken = false;
  assert.equal(sha256(await readFile(path)), sha256(content));
});

test('FuseServer answers EIO before the kernel gives the connection up, and the next read finds what has come since', async (t) => {
  const content = randomBytes(rangeBytes);
  const { server, path, file, fetch } = await served(t, content, 300);
  server.remove(file.nodeId);
  const come = Promise.withResolvers<void>();
  server.add(file, async (offset, size) => {
    await come.promise;
    return fetch(offset, size);
  });
  await assert.rejects(readFile(path), { code: 'EIO' });
  come.resolve();
  assert.equal(sha256(await readFile(path)), sha256(content));
});

test('FuseServer answers with the pieces that the local file could not take', async (t) => {
  const content = randomBytes(3 * rangeBytes + 100);
  const { server, path, file } = await served(t, content);
  server.remove(file.nodeId);
  const pieceAt = (offset: number) => ({ offset, content: content.subarray(offset, offset + rangeBytes) });
  server.add(file, (offset, size) => {
    const pieces = [];
    for (let at = 0; at < content.length; at += rangeBytes) {
      if (at < offset + size && at + rangeBytes > offset) pieces.push(pieceAt(at));
    }
    return Promise.resolve(pieces);
  });
  assert.equal(sha256(await readFile(path)), sha256(content));
  await using handle = await open(path);
  const { buffer } = await handle.read(Buffer.alloc(5000), 0, 5000, rangeBytes - 2000);
  assert.deepEqual(buffer, content.subarray(rangeBytes - 2000, rangeBytes + 3000));
});

test('FuseServer gives a file back that it stops to serve, also when nobody asks for anything any more', async (t) => {
  const { server, path, file } = await served(t, randomBytes(rangeBytes));
  await stat(path);
  server.remove(file.nodeId);
  const descriptors = async (): Promise<number> => {
    const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
    return (await Promise.all(links)).filter((target) => target === file.path).length;
  };
  const own = 1; // of the test
  await until(async () => (await descriptors()) <= own, 'a descriptor of the file stays open');
});

for (const [how, mount] of [
  ['', mountImage],
  [' through a loop device', mountThroughLoop],
] as const) {
  test(`An EROFS image on a FuseServer mounts${how} and reads while its data arrives, and what mounts it is its name`, async (t) => {
    const source = await mkdtemp(join(tmpdir(), 'lazypull-tree-'));
    t.after(() => rm(source, { recursive: true }));
    await mkdir(join(source, 'd'));
    const big = randomBytes(9 * 1024 * 1024 + 7);
    await writeFile(join(source, 'd', 'big'), big);
    for (let i = 0; i < 300; i++) await writeFile(join(source, 'd', `f${i}`), randomBytes(i * 31));
    const image = join(source, '..', `${Date.now()}.erofs`);
    t.after(() => rm(image));
    await run('mkfs.erofs', [image, source]);

    const { server, root, directory } = await served(t, await readFile(image));
    const mountpoint = join(directory, 'mnt');
    await mkdir(mountpoint);
    const name = server.nameOf('layer');
    await mount('erofs', join(root, name), mountpoint);
    try {
      assert.deepEqual(
        (await mountTable(directory)).map(({ source }) => basename(source)),
        [name],
      );
      assert.equal(sha256(await readFile(join(mountpoint, 'd', 'big'))), sha256(big));
      await run('diff', ['-r', source, mountpoint]);
    } finally {
      await unmount(mountpoint);
    }
  });
}

import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { silentLog } from '../../../src/log.ts';
import { BlobStore } from '../../../src/mirror/blob-store.ts';
import { mirrorMetrics } from '../../../src/mirror/metrics.ts';
import type { SharedBlob } from '../../../src/mirror/shared-blob.ts';
import { FakeBlob } from '../../support/chunked-blob.ts';

const mib = 1 << 20;

/** A registry's blob that is known by its real digest. */
class Upstream extends FakeBlob {
  override readonly digest: `sha256:${string}`;

  constructor(bytes: Buffer, digest = bytes) {
    super(bytes, 64 << 10);
    this.digest = `sha256:${hash('sha256', digest)}`;
  }

  get fetched(): number {
    return this.requests.reduce((sum, { start, end }) => sum + end - start, 0);
  }
}

/** A store below a new root, that opens it again after each `restart`. */
async function setUp(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-mirror-'));
  const room = { isFull: false, grown: 0, hasRoom: () => !room.isFull, onGrowth: () => void room.grown++ };
  const metrics = mirrorMetrics();
  let store = await BlobStore.open(root, room, metrics, silentLog);
  t.after(async () => {
    await store[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });
  const restart = async (): Promise<void> => {
    await store[Symbol.asyncDispose]();
    store = await BlobStore.open(root, room, metrics, silentLog);
  };
  const withBlob = async <T>(digest: string, action: (blob: SharedBlob) => Promise<T>): Promise<T> => {
    using lease = await store.lease(digest);
    return await action(lease?.blob ?? assert.fail('The blob cannot be opened'));
  };
  const read = (upstream: Upstream, start: number, end: number): Promise<Buffer> =>
    withBlob(upstream.digest, async (blob) => {
      const pieces = await Array.fromAsync(blob.read(upstream, start, end));
      return Buffer.concat(pieces.map(({ data }) => data));
    });
  const directory = (upstream: Upstream) => join(root, 'blobs', upstream.digest.slice('sha256:'.length));
  return { root, room, metrics, restart, withBlob, read, directory, store: () => store };
}

test('SharedBlob fetches nothing twice for a layer and a client', async (t) => {
  const { store, read } = await setUp(t);
  const content = randomBytes(20 * mib);
  const upstream = new Upstream(content);
  const layer = store().keep(upstream);
  const parts = [
    { start: 3 * mib, end: 4 * mib },
    { start: 9 * mib + 5, end: 9 * mib + 77 },
  ]; // prettier-ignore
  for await (const { part, data } of layer.ranges(parts)) {
    assert.ok(content.subarray(parts[part]!.start, parts[part]!.end).includes(data));
  }
  assert.equal(upstream.fetched, mib + 72);
  assert.ok((await read(upstream, 0, content.length)).equals(content));
  assert.equal(upstream.fetched, content.length);
  const again = await Array.fromAsync(layer.range(5, 12 * mib));
  assert.ok(Buffer.concat(again).equals(content.subarray(5, 12 * mib)));
  assert.deepEqual(await layer.tail(100), { data: content.subarray(-100), size: content.length });
  assert.equal(upstream.fetched, content.length, 'something was fetched twice');
});

test('SharedBlob lets readers wait for bytes that are being fetched', async (t) => {
  const { store, read } = await setUp(t);
  const content = randomBytes(12 * mib);
  const upstream = new Upstream(content);
  const gate = Promise.withResolvers<void>();
  upstream.beforePiece = (offset) => (offset > mib ? gate.promise : Promise.resolve());
  const layer = store().keep(upstream);
  const readers = [
    Array.fromAsync(layer.range(0, 2 * mib)).then((pieces) => Buffer.concat(pieces)),
    Array.fromAsync(layer.range(0, 3 * mib)).then((pieces) => Buffer.concat(pieces)),
    read(upstream, 0, content.length),
    read(upstream, 0, content.length),
  ];
  setTimeout(gate.resolve, 50);
  const got = await Promise.all(readers);
  for (const bytes of got) assert.ok(bytes.equals(content.subarray(0, bytes.length)));
  assert.equal(upstream.fetched, content.length, 'something was fetched twice');
});

test('SharedBlob lets a reader fetch the rest itself if the one that it waits for fails', async (t) => {
  const { store } = await setUp(t);
  const content = randomBytes(2 * mib);
  const upstream = new Upstream(content);
  const failing = new Upstream(content);
  const gate = Promise.withResolvers<void>();
  failing.beforePiece = async (offset) => {
    if (offset < mib) return;
    await gate.promise;
    throw new Error('The connection was lost');
  };
  const first = Array.fromAsync(store().keep(failing).range(0, content.length));
  const second = Array.fromAsync(store().keep(upstream).range(0, content.length));
  setTimeout(gate.resolve, 50);
  await assert.rejects(first, /connection was lost/);
  assert.ok(Buffer.concat(await second).equals(content));
  assert.deepEqual(upstream.requests, [{ start: mib, end: 2 * mib }]);
});

test('SharedBlob gives a client the error of the registry', async (t) => {
  const { read } = await setUp(t);
  const upstream = new Upstream(randomBytes(2 * mib));
  upstream.beforePiece = (offset) => (offset < mib ? Promise.resolve() : Promise.reject(new Error('No such blob')));
  await assert.rejects(read(upstream, 0, 2 * mib), /No such blob/);
  upstream.beforePiece = () => Promise.resolve();
  upstream.requests.length = 0;
  await read(upstream, 0, 2 * mib);
  assert.deepEqual(upstream.requests, [{ start: mib, end: 2 * mib }]);
});

test('BlobFile keep what is here across a restart, but not in a short file or with a damaged record', async (t) => {
  const { restart, read, directory } = await setUp(t);
  const content = randomBytes(4 * mib);
  const upstream = new Upstream(content);
  await read(upstream, 100, 2 * mib);
  await restart();
  upstream.requests.length = 0;
  assert.ok((await read(upstream, 0, 2 * mib)).equals(content.subarray(0, 2 * mib)));
  assert.deepEqual(upstream.requests, [{ start: 0, end: 100 }]);

  const spoil = [
    () => truncate(join(directory(upstream), 'data'), mib),
    () => writeFile(join(directory(upstream), 'record'), '{"sum":"0","body":"{}"}'),
    () => writeFile(join(directory(upstream), 'record'), 'nonsense'),
    () => rm(join(directory(upstream), 'record')),
  ];
  for (const each of spoil) {
    await restart();
    await each();
    upstream.requests.length = 0;
    assert.ok((await read(upstream, 0, 2 * mib)).equals(content.subarray(0, 2 * mib)));
    assert.equal(upstream.fetched, 2 * mib);
  }
});

test('BlobFile believe a record of another boot only if its bytes were synced', async (t) => {
  const { restart, read, directory } = await setUp(t);
  const upstream = new Upstream(randomBytes(mib));
  await read(upstream, 0, mib);
  await restart();
  const path = join(directory(upstream), 'record');
  const { body } = JSON.parse(await readFile(path, 'utf8')) as { body: string };
  assert.equal((JSON.parse(body) as { boot: string }).boot, 'any');
  const other = body.replace('"any"', '"another"');
  await writeFile(path, JSON.stringify({ sum: hash('sha256', other), body: other }));
  upstream.requests.length = 0;
  await read(upstream, 0, mib);
  assert.equal(upstream.fetched, mib);
});

test('SharedBlob.isSound throws a blob away that was damaged on the disk', async (t) => {
  const { restart, read, directory, withBlob, metrics } = await setUp(t);
  const content = randomBytes(3 * mib);
  const upstream = new Upstream(content);
  await withBlob(upstream.digest, (blob) => blob.size(upstream));
  await read(upstream, 0, content.length);
  assert.ok(await withBlob(upstream.digest, (blob) => blob.isSound()));
  await restart();
  await using file = await open(join(directory(upstream), 'data'), 'r+');
  await file.write(Buffer.from([content[mib]! ^ 1]), 0, 1, mib);
  assert.equal(await withBlob(upstream.digest, (blob) => blob.isSound()), false);
  assert.deepEqual(await metrics.wrongBlobs.lines(), ['lazypull_mirror_wrong_blobs_total 1']);
  assert.ok(await withBlob(upstream.digest, (blob) => blob.isSound()), 'there is nothing left that could be wrong');
  upstream.requests.length = 0;
  await withBlob(upstream.digest, (blob) => blob.size(upstream));
  assert.ok((await read(upstream, 0, content.length)).equals(content));
  assert.ok(await withBlob(upstream.digest, (blob) => blob.isSound()));
});

test('SharedBlob.distrust gets bytes from the registry if kept ones are wrong', async (t) => {
  const { read, directory, store } = await setUp(t);
  const content = randomBytes(mib);
  const upstream = new Upstream(content);
  await read(upstream, 0, mib);
  await using file = await open(join(directory(upstream), 'data'), 'r+');
  await file.write(Buffer.from([content[5]! ^ 1]), 0, 1, 5);
  const layer = store().keep(upstream);
  const askedMs = performance.now();
  assert.notEqual(Buffer.concat(await Array.fromAsync(layer.range(0, 10)))[5], content[5]);
  assert.equal(await layer.distrust(askedMs), true, 'the registry may have better');
  assert.equal(Buffer.concat(await Array.fromAsync(layer.range(0, 10)))[5], content[5]);
  assert.equal(await layer.distrust(performance.now()), false, 'it came from the registry, which is the only one');
});

test('SharedBlob serves everything even if there is no room to keep it', async (t) => {
  const { room, read, store } = await setUp(t);
  const content = randomBytes(20 * mib);
  const upstream = new Upstream(content);
  room.isFull = true;
  assert.ok((await read(upstream, 0, content.length)).equals(content));
  assert.deepEqual(upstream.requests, [{ start: 0, end: content.length }]);
  const pieces = await Array.fromAsync(store().keep(upstream).range(0, mib));
  assert.ok(Buffer.concat(pieces).equals(content.subarray(0, mib)));
  const [blob] = await store().list();
  assert.ok(blob!.bytes < mib, 'it takes space');
  room.isFull = false;
  await read(upstream, 0, mib);
  assert.ok(room.grown > 0);
});

test('BlobStore removes a blob only while it is not used', async (t) => {
  const { read, store, withBlob } = await setUp(t);
  const content = randomBytes(mib);
  const upstream = new Upstream(content);
  await read(upstream, 0, mib);
  const [blob] = await store().list();
  assert.ok(blob!.bytes >= mib && Date.now() - blob!.lastUsedMs < 60_000);
  await withBlob(upstream.digest, async () => assert.equal(await blob!.remove(), false));
  assert.equal(await blob!.remove(), true);
  assert.deepEqual(await store().list(), []);
  upstream.requests.length = 0;
  assert.ok((await read(upstream, 0, mib)).equals(content));
  assert.equal(upstream.fetched, mib);
});

test('SharedBlob does not mix a blob of which two servers tell other sizes', async (t) => {
  const { withBlob, read } = await setUp(t);
  const content = randomBytes(mib);
  const upstream = new Upstream(content);
  const liar = new Upstream(randomBytes(mib / 2), content);
  await withBlob(upstream.digest, async (blob) => {
    assert.equal(await blob.size(liar), mib / 2);
    await blob.distrust(liar, performance.now());
    assert.equal(await blob.size(upstream), mib);
  });
  assert.ok((await read(upstream, 0, mib)).equals(content));
});

test('BlobStore leaves nothing of empty blobs, and does not keep all of them open', async (t) => {
  const { root, store, withBlob, read } = await setUp(t);
  const upstream = new Upstream(randomBytes(mib));
  const absent = new Upstream(Buffer.alloc(0), randomBytes(9));
  absent.tail = () => Promise.reject(new Error('No such blob'));
  await assert.rejects(
    withBlob(absent.digest, (blob) => blob.size(absent)),
    /No such blob/,
  );
  await read(upstream, 0, mib);
  for (const deadline = Date.now() + 5000; (await readdir(join(root, 'blobs'))).length > 1; await delay(5)) {
    assert.ok(Date.now() < deadline, 'what there is nothing of was not removed');
  }
  const leases = await Promise.all(
    Array.from({ length: 600 }, (_, i) => store().lease(`sha256:${hash('sha256', String(i))}`)),
  );
  assert.equal(leases.filter((lease) => lease === undefined).length, 600 - 512);
  for (const lease of leases) lease?.[Symbol.dispose]();
  assert.equal((await store().list()).length >= 1, true);
  using lease = await store().lease(upstream.digest);
  assert.ok(lease !== undefined, 'those that nobody uses make room');
});

test('BlobStore gives nothing to readers after it was closed', async (t) => {
  const { restart, read, store } = await setUp(t);
  const content = randomBytes(mib);
  const upstream = new Upstream(content);
  await read(upstream, 0, mib);
  const pieces = store().keep(upstream).range(0, mib)[Symbol.asyncIterator]();
  const first = (await pieces.next()).value as Buffer;
  await restart();
  const rest: Buffer[] = [first];
  for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) rest.push(next.value);
  assert.ok(Buffer.concat(rest).equals(content));
  upstream.requests.length = 0;
  await read(upstream, 0, mib);
  assert.deepEqual(upstream.requests, [], 'what was here is lost');
});

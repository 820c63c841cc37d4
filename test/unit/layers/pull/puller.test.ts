import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { LazypullError } from '../../../../src/errors.ts';
import { LayerPuller, type PullLimits, type PullRequest } from '../../../../src/layers/pull/puller.ts';
import { silentLog } from '../../../../src/log.ts';
import { MemoryBlob } from '../../../support/memory-blob.ts';
import { pullBlob, pullTarget } from '../../../support/pulled-layer.ts';
import { tryRun } from '../../../support/program.ts';
import { buildTar } from '../../../support/tar-builder.ts';
import { until } from '../../../support/until.ts';

const limits: PullLimits = {
  threads: 2,
  littleThreads: 1,
  heapMb: 128,
  connections: 3,
  requestBytes: 16 << 20,
  unsyncedBytes: Number.POSITIVE_INFINITY,
};

function layer(bytes: number): Buffer {
  return gzipSync(buildTar([{ name: 'file', data: randomBytes(bytes) }]), { level: 1 });
}

async function setUp(t: TestContext, makeRoom = (_bytes: number): Promise<void> => Promise.resolve()) {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-puller-'));
  const puller = new LayerPuller({ limits, makeRoom, log: silentLog });
  t.after(async () => {
    await puller[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });
  const request = async (blob: MemoryBlob, options: Partial<PullRequest> = {}): Promise<PullRequest> => {
    const { unsyncedBytes: _, blobBytes: __, ...target } = await pullTarget(directory, blob.content);
    const { signal } = new AbortController();
    return { ...target, digest: blob.digest, blob, signal, onProgress: () => undefined, ...options };
  };
  return { puller, request, directory };
}

const filesOf = (request: PullRequest): Promise<string[]> => readdir(dirname(request.diskPath));

test('LayerPuller pulls many layers at once, with as many threads as it has', async (t) => {
  const { puller, request } = await setUp(t);
  const blobs = [100, 3 << 20, 9 << 20, 20_000, 30 << 20, 0].map((bytes) => new MemoryBlob(layer(bytes)));
  const requests = await Promise.all(blobs.map((blob) => request(blob)));
  const pulled = await Promise.all(requests.map((each) => puller.pull(each)));
  for (const [i, { blobBytes, entries, compression }] of pulled.entries()) {
    assert.deepEqual([blobBytes, entries, compression], [blobs[i]!.content.length, 1, 'gzip']);
    const names = ['codec', 'disk', 'hints.json', 'index', 'paths', 'stacking.json', 'table'];
    assert.deepEqual((await filesOf(requests[i]!)).toSorted(), names);
  }
});

test('LayerPuller starts no more threads for layers that come with one request, but does not keep them waiting', async (t) => {
  const { puller, request } = await setUp(t);
  let started = 0;
  const count = (): void => void started++;
  process.on('worker', count);
  t.after(() => process.off('worker', count));
  const pullLittle = async (): Promise<void> => {
    const blobs = [100, 20_000, 1 << 20, 0, 50_000].map((bytes) => new MemoryBlob(layer(bytes)));
    await Promise.all(blobs.map(async (blob) => puller.pull(await request(blob))));
  };
  await pullLittle();
  assert.equal(started, 2); // one inflates, the other one writes
  const large = new MemoryBlob(layer(3 << 20));
  large.delayMs = (start) => (start === 0 ? 1e6 : 0);
  const abort = new AbortController();
  const pulling = puller.pull(await request(large, { signal: abort.signal }));
  pulling.catch(() => undefined);
  await until(() => large.requests === 2, 'the large layer is not fetched');
  await pullLittle();
  assert.equal(started, 4);
  abort.abort(new LazypullError('Canceled', 'No caller waits'));
  await assert.rejects(pulling, /No caller waits/);
  await pullLittle();
});

test('LayerPuller makes layers in the order in which they were asked for, whichever comes first', async (t) => {
  const { puller, request } = await setUp(t);
  const abort = new AbortController();
  const stuck = [1, 2].map(() => new MemoryBlob(layer(3 << 20)));
  const pulling = stuck.map(async (blob) => {
    blob.delayMs = (start) => (start === 0 ? 1e6 : 0);
    await assert.rejects(puller.pull(await request(blob, { signal: abort.signal })), /No caller waits/);
  });
  await until(() => stuck.every(({ requests }) => requests === 2), 'the threads are not taken');
  const blobs = [1, 2, 3].map((bytes) => new MemoryBlob(layer(bytes)));
  blobs[0]!.delayMs = () => 50;
  const requests = await Promise.all(blobs.map((blob) => request(blob)));
  const made: number[] = [];
  const all = requests.map((each, i) => puller.pull(each).then(() => made.push(i)));
  await until(
    () => blobs.every(({ requests, underWay }) => requests === 1 && underWay === 0),
    'the layers do not come',
  );
  await delay(1);
  abort.abort(new LazypullError('Canceled', 'No caller waits'));
  await Promise.all([...all, ...pulling]);
  assert.deepEqual(made, [0, 1, 2]);
});

test('LayerPuller makes the index that one thread makes, whose windows have what is referred to alone', async (t) => {
  const { puller, request, directory } = await setUp(t);
  const text = Buffer.from(randomBytes(8 << 20).toString('hex'));
  const blob = new MemoryBlob(gzipSync(buildTar([{ name: 'file', data: text }])));
  const wanted = await request(blob);
  await puller.pull(wanted);
  const { target } = await pullBlob(directory, blob.content);
  const [made, expected] = await Promise.all([wanted, target].map(({ indexPath }) => readFile(indexPath!)));
  assert.ok(made!.equals(expected!), `${made!.length} bytes instead of ${expected!.length}`);
});

test('LayerPuller fetches a small layer with one request, and tells of bytes as they come', async (t) => {
  const { puller, request } = await setUp(t);
  const blob = new MemoryBlob(layer(1_000_000));
  const progress: [number, number][] = [];
  await puller.pull(await request(blob, { onProgress: (bytes, total) => progress.push([bytes, total]) }));
  assert.equal(blob.requests, 1);
  assert.deepEqual(progress.at(-1), [blob.content.length, blob.content.length]);
});

test('LayerPuller pulls a layer with one request from a server that gives no parts', async (t) => {
  const { puller, request } = await setUp(t);
  const blob = new MemoryBlob(layer(9 << 20));
  blob.takesRanges = false;
  const { takesRanges, blobBytes, index } = await puller.pull(await request(blob));
  assert.deepEqual([takesRanges, blobBytes, blob.requests], [false, blob.content.length, 1]);
  assert.ok('bytes' in index);
});

test('LayerPuller removes what it wrote of a layer that fails, and pulls the next one', async (t) => {
  const { puller, request } = await setUp(t);
  const good = layer(3 << 20);
  const blob = new MemoryBlob(good);
  blob.content = Buffer.from(good);
  blob.content[1 << 20]! ^= 1;
  const failing = await request(blob);
  await assert.rejects(puller.pull(failing), { code: 'DataLoss' });
  assert.deepEqual(await filesOf(failing), []);
  const lost = new MemoryBlob(good);
  lost.failAt = 1 << 20;
  await assert.rejects(puller.pull(await request(lost)), /no more/);
  assert.equal((await puller.pull(await request(new MemoryBlob(good)))).entries, 1);
});

test('LayerPuller asks another server for a blob that is not the right one', async (t) => {
  const { puller, request } = await setUp(t);
  const blob = new MemoryBlob(layer(2 << 20));
  blob.better = blob.content;
  blob.content = layer(2 << 20);
  assert.equal((await puller.pull(await request(blob))).entries, 1);
});

test('LayerPuller ends at once when it is told to, and leaves nothing', async (t) => {
  const { puller, request } = await setUp(t);
  const blob = new MemoryBlob(layer(20 << 20));
  for (const afterMs of [0, 5, 30]) {
    const abort = new AbortController();
    const pulling = await request(blob, { signal: abort.signal });
    const done = puller.pull(pulling);
    done.catch(() => undefined);
    await delay(afterMs);
    abort.abort(new LazypullError('Canceled', 'No caller waits'));
    await assert.rejects(done, /No caller waits/);
    assert.equal(blob.underWay, 0);
    assert.deepEqual(await filesOf(pulling), []);
  }
});

test('LayerPuller ends a layer that waits for a server when it is closed', async (t) => {
  const { puller, request } = await setUp(t);
  const blob = new MemoryBlob(layer(3 << 20));
  blob.delayMs = (start) => (start === 0 ? 1e6 : 0);
  const done = puller.pull(await request(blob));
  done.catch(() => undefined);
  await delay(20);
  await puller[Symbol.asyncDispose]();
  await assert.rejects(done, { code: 'Canceled' });
});

test('LayerPuller does not begin a layer for which there is no room', async (t) => {
  const asked: number[] = [];
  const { puller, request } = await setUp(t, (bytes) => {
    asked.push(bytes);
    return Promise.reject(new LazypullError('ResourceExhausted', 'The cache is full'));
  });
  const blob = new MemoryBlob(layer(3 << 20));
  await assert.rejects(puller.pull(await request(blob)), /cache is full/);
  assert.equal(blob.requests, 1);
  assert.ok(asked[0]! > blob.content.length);
});

test('LayerPuller keeps no process alive that has forgotten it', async (t) => {
  const { directory } = await setUp(t);
  const module = (path: string) => JSON.stringify(new URL(path, import.meta.url));
  const program = `
    const { PullThread } = await import(${module('../../../../src/layers/pull/pull-thread.ts')});
    const { pullTarget } = await import(${module('../../../support/pulled-layer.ts')});
    const blob = Buffer.alloc(10_240); // an empty tar
    const target = await pullTarget(${JSON.stringify(directory)}, blob);
    const stream = { async *[Symbol.asyncIterator]() { yield blob; } };
    const { compression } = await new PullThread(64).run(target, stream, new AbortController().signal);
    console.log(compression);`;
  const path = join(directory, 'program.mjs');
  await writeFile(path, program);
  const ending = tryRun(process.execPath, [path]);
  const { status, stdout, stderr } = await Promise.race([
    ending,
    delay(60_000, { status: -1, stdout: 'it goes on', stderr: '' }, { ref: false }),
  ]);
  assert.deepEqual([status, stdout.trim()], [0, 'none'], stderr);
});

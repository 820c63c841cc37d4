import assert from 'node:assert/strict';
import { link, readdir, readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { codeOf } from '../../../src/errors.ts';
import { IndexStore, type StoredIndex } from '../../../src/indexes/index-store.ts';
import { silentLog } from '../../../src/log.ts';
import { layerDigest, type MadeIndex, madeIndex, temporaryRoot } from '../../support/index-lab.ts';

const origin = { kind: 'repository', where: 'registry.example/team/indexes' } as const;
const layer = layerDigest('a');

function keep(store: IndexStore, { index, bytes }: MadeIndex): Promise<StoredIndex> {
  return store.keep({ ...index, origin }, [bytes.subarray(0, 1000), bytes.subarray(1000)]);
}

async function age(kept: StoredIndex, seconds: number): Promise<void> {
  const time = Date.now() / 1000 - seconds;
  await utimes(kept.path, time, time);
}

test('IndexStore.find gives what was kept, in another process too', async () => {
  await using root = await temporaryRoot();
  const made = madeIndex(layer);
  await keep(new IndexStore(root.path, 0, silentLog), made);
  const store = new IndexStore(root.path, 0, silentLog);
  const found = await store.find(layer);
  assert.ok(found !== undefined);
  const { digest, size, tail } = made.index;
  assert.deepEqual(
    { ...found, path: '', keptMs: 0, lastUsedMs: 0 },
    { layer, digest, size, tail, origin, path: '', keptMs: 0, lastUsedMs: 0 },
  );
  assert.deepEqual(await store.read(found, 10, 4990), made.bytes.subarray(10, 4990));
  await assert.rejects(store.read(found, 4990, 5001), { code: 'DataLoss' });
  assert.equal(await store.find(layerDigest('b')), undefined);
  assert.equal((await stat(join(root.path, 'indexes'))).mode & 0o777, 0o700);
});

test('IndexStore.find notes the use', async () => {
  await using root = await temporaryRoot();
  const store = new IndexStore(root.path, 0, silentLog);
  await age(await keep(store, madeIndex(layer)), 5000);
  await store.find(layer);
  const [kept] = await store.list();
  assert.ok(Date.now() - kept!.lastUsedMs < 60_000);
});

test('IndexStore.find removes what is truncated, changed, or of another layer', async () => {
  await using root = await temporaryRoot();
  const store = new IndexStore(root.path, 0, silentLog);
  const other = layerDigest('b');
  const spoil: ((kept: StoredIndex) => Promise<void>)[] = [
    ({ path }) => truncate(path, 0),
    ({ path }) => truncate(path, 3000),
    async ({ path }) => truncate(path, (await stat(path)).size - 1),
    async ({ path }) => {
      const bytes = await readFile(path);
      bytes[100]! ^= 1;
      await writeFile(path, bytes);
    },
    async ({ path }) => {
      const bytes = await readFile(path);
      bytes.writeUInt32LE(0xffff_ffff, bytes.length - 12);
      await writeFile(path, bytes);
    },
    async ({ path }) => writeFile(path, await readFile((await keep(store, madeIndex(other))).path)),
  ];
  for (const each of spoil) {
    const kept = await keep(store, madeIndex(layer));
    await each(kept);
    assert.equal(await store.find(layer), undefined);
    await assert.rejects(stat(kept.path), { code: 'ENOENT' });
  }
});

test('IndexStore.keep refuses what is not what was promised, and leaves nothing of it', async () => {
  await using root = await temporaryRoot();
  const store = new IndexStore(root.path, 0, silentLog);
  const made = madeIndex(layer);
  const { index, bytes } = made;
  const wrong = Buffer.from(bytes);
  wrong[0]! ^= 1;
  const tail = { bytes: index.tail.bytes, digest: index.digest };
  for (const [about, content] of [
    [index, wrong],
    [index, bytes.subarray(1)],
    [index, Buffer.concat([bytes, bytes])],
    [{ layer, tail }, bytes],
    [{ layer, tail: { ...index.tail, bytes: 6000 } }, bytes],
    [index, Buffer.alloc(0)],
  ] as const) {
    await assert.rejects(store.keep({ ...about, origin }, [content]), { code: 'DataLoss' });
  }
  assert.deepEqual(await readdir(join(root.path, 'indexes')), []);
  await assert.rejects(store.keep({ ...index, layer: '../../x', origin }, [bytes]), { code: 'InvalidArgument' });
  await assert.rejects(store.keep({ ...index, origin }, failing()), { code: 'Unavailable' });
  assert.deepEqual(await readdir(join(root.path, 'indexes')), []);
});

async function* failing(): AsyncGenerator<Buffer> {
  yield Buffer.alloc(10);
  throw new Error('the line was cut');
}

test('IndexStore.keep removes the longest unused once there is too much, and keeps hard links whole', async () => {
  await using root = await temporaryRoot();
  const store = new IndexStore(root.path, 30_000, silentLog);
  const names = ['a', 'b', 'c', 'd', 'e'];
  const linked = join(root.path, 'linked');
  for (const [i, name] of names.entries()) {
    const kept = await keep(store, madeIndex(layerDigest(name)));
    if (i === 0) await link(kept.path, linked);
    await age(kept, 1000 - i);
  }
  await keep(store, madeIndex(layerDigest('f')));
  const left = (await store.list()).map(({ layer: each }) => each);
  assert.deepEqual(left, ['b', 'c', 'd', 'e', 'f'].slice(-left.length).map(layerDigest));
  assert.ok(left.length >= 3 && left.length < 6);
  assert.equal((await stat(linked)).size > 5000, true);
  await assert.rejects(
    store.keep({ ...madeIndex(layer, 31_000).index, origin }, [Buffer.alloc(31_000)]),
    (error) => codeOf(error) === 'ResourceExhausted',
  );
});

test('IndexStore.keep removes what a killed process left half written long ago', async () => {
  await using root = await temporaryRoot();
  const { path } = await keep(new IndexStore(root.path, 0, silentLog), madeIndex(layer));
  const [old, fresh] = [`${path}.old`, `${path}.fresh`];
  for (const stray of [old, fresh]) await writeFile(stray, 'half');
  await utimes(old, 0, 0);
  await keep(new IndexStore(root.path, 30_000, silentLog), madeIndex(layerDigest('b')));
  await assert.rejects(stat(old), { code: 'ENOENT' });
  await stat(fresh);
});

test('IndexStore.prune removes by age and size, and what was left half written long ago', async () => {
  await using root = await temporaryRoot();
  const store = new IndexStore(root.path, 0, silentLog);
  for (const [i, name] of ['a', 'b', 'c'].entries()) {
    await age(await keep(store, madeIndex(layerDigest(name))), 1000 - 100 * i);
  }
  const directory = join(root.path, 'indexes');
  const stray = join(directory, `${'0'.repeat(64)}.left`);
  await writeFile(stray, 'x');
  await store.prune({ unusedMs: 850_000, keepBytes: 0 });
  assert.deepEqual(
    (await store.list()).map(({ layer: each }) => each),
    ['c'].map(layerDigest),
  );
  assert.ok((await readdir(directory)).includes(`${'0'.repeat(64)}.left`));
  await utimes(stray, 0, 0);
  await age((await store.list())[0]!, -1000); // the clock was ahead
  assert.deepEqual(await store.prune({ unusedMs: 0, keepBytes: 5000 }), []);
  assert.equal((await store.prune({ unusedMs: 0, keepBytes: 4999 })).length, 1);
  assert.deepEqual(await readdir(directory), []);
});

test('IndexStore.prune removes no index that comes while it looks, and each damaged one', async () => {
  await using root = await temporaryRoot();
  const store = new IndexStore(root.path, 0, silentLog);
  const damaged = join(root.path, 'indexes', 'f'.repeat(64));
  const list = store.list.bind(store);
  store.list = async () => {
    const listed = await list();
    await keep(store, madeIndex(layer));
    await writeFile(damaged, 'no index');
    return listed;
  };
  await store.prune({ unusedMs: 0, keepBytes: 0 });
  store.list = list;
  assert.deepEqual(
    (await store.list()).map((each) => each.layer),
    [layer],
  );
  await assert.rejects(stat(damaged), { code: 'ENOENT' });
});

test('IndexStore.list knows a root without a store', async () => {
  await using root = await temporaryRoot();
  const store = new IndexStore(join(root.path, 'not there'), 0, silentLog);
  assert.deepEqual(await store.list(), []);
  assert.equal(await store.find(layer), undefined);
  assert.equal(await store.remove(layer), false);
});

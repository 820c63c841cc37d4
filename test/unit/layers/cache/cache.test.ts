import assert from 'node:assert/strict';
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Cache, type CacheUsers } from '../../../../src/layers/cache/cache.ts';
import type { CacheNeighbour, Verified } from '../../../../src/layers/cache/cache-access.ts';
import type { CacheLimits } from '../../../../src/layers/cache/cache-limits.ts';
import type { LayerDirectory } from '../../../../src/layers/store/layer-directory.ts';
import { WorkerPool } from '../../../../src/layers/workers/pool.ts';
import { ampleMemory } from '../../../../src/layers/memory-budget.ts';
import { silentLog } from '../../../../src/log.ts';
import { cachedLayer, cachedTocDigest } from '../../../support/cached-layer.ts';
import { until } from '../../../support/until.ts';

const mib = 1 << 20;
const toc = cachedTocDigest.slice('sha256:'.length);
const hexOf = (name: string) => name.repeat(64);
const keyOf = (name: string) => `sha256:${hexOf(name)}\nsha256:${toc}`;
const noLimits: CacheLimits = { max: { bytes: 0 }, minFree: { bytes: 0 }, highWater: 1, lowWater: 1 };

/**
 * A cache, what its users need and have open, and layers of four parts of 1 MiB that were used in the order in which
 * they were made.
 */
async function setUp(t: TestContext, limits = noLimits, beside?: CacheNeighbour) {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-cache-'));
  const needed = new Set<string>();
  const open = new Map<string, Verified | undefined>();
  /** What happens right before the files of a layer are used. */
  const events: { closed?: (key: string) => void } = {};
  const users: CacheUsers = {
    isNeeded: (key) => needed.has(key) || open.has(key),
    whileClosed: (key, action) => {
      events.closed?.(key);
      return open.has(key) ? Promise.resolve(undefined) : action();
    },
    verifyOpen: (key) => Promise.resolve(open.get(key)),
  };
  const threads = new WorkerPool({ ...ampleMemory, threads: 1 }, silentLog);
  const cache = new Cache({ root, limits, users, threads, beside, log: silentLog });
  t.after(async () => {
    await cache.close();
    await threads.close();
    await rm(root, { recursive: true });
  });
  let day = 1;
  const add = (name: string): Promise<LayerDirectory> => cachedLayer(root, name, Date.UTC(2026, 0, day++));
  const kept = async () => (await Array.fromAsync(cache.list())).map(({ digest }) => digest.at(-1)).join('');
  return { root, cache, needed, open, events, add, kept };
}

test('Cache lists what is kept, the longest unused first, with the space that it takes', async (t) => {
  const { cache, add, needed } = await setUp(t);
  await add('b');
  await add('a');
  needed.add(keyOf('a'));
  const [first, second] = await Array.fromAsync(cache.list());
  assert.deepEqual([first?.contentBytes, first?.presentBytes], [4 * mib, 3 * mib]);
  assert.deepEqual([first?.digest, first?.tocDigest], [`sha256:${hexOf('b')}`, `sha256:${toc}`]);
  assert.equal(first?.lastUsedMs, Date.UTC(2026, 0, 1));
  assert.ok(first.bytes >= 4 * mib && first.bytes < 4 * mib + 100_000, String(first.bytes));
  assert.deepEqual([first.inUse, second?.inUse], [false, true]);
});

test('Cache removes the longest unused layers above the high water, and never one that is needed', async (t) => {
  const limits = { ...noLimits, max: { bytes: 20 * mib }, highWater: 0.9, lowWater: 0.7 };
  const { root, cache, add, kept, needed } = await setUp(t, limits);
  for (const name of ['a', 'b', 'c', 'd']) await add(name);
  needed.add(keyOf('a'));
  await cache.trim();
  assert.equal(await kept(), 'abcd', 'all is below the limit');
  await add('e');
  await cache.trim();
  assert.equal(await kept(), 'ade');
  assert.ok(!cache.isFull);
  assert.deepEqual((await readdir(join(root, 'layers'))).toSorted(), ['a', 'd', 'e'].map(hexOf));
});

/** Something beside the layers of 5 MiB, used at a time, that is gone after `remove`. */
function besides(lastUsedMs: number[], inUse = new Set<number>()) {
  const left = new Set(lastUsedMs);
  const list = async () =>
    [...left].map((at) => ({ bytes: 5 * mib, lastUsedMs: at, remove: async () => !inUse.has(at) && left.delete(at) }));
  return { left, list };
}

test('Cache counts what is kept beside the layers, and removes what was not used for the longest time of both', async (t) => {
  const limits = { ...noLimits, max: { bytes: 27 * mib }, highWater: 0.9, lowWater: 0.7 };
  const [between, late] = [Date.UTC(2026, 0, 1, 12), Date.UTC(2027, 0)];
  const beside = besides([between, late]);
  const { cache, add, kept } = await setUp(t, limits, beside);
  for (const name of ['a', 'b']) await add(name);
  await cache.trim();
  assert.deepEqual([await kept(), beside.left.size], ['ab', 2], 'all is below the limit');
  for (const name of ['c', 'd']) await add(name);
  await cache.trim();
  assert.deepEqual([await kept(), [...beside.left]], ['bcd', [late]]);
});

test('Cache prunes what is beside the layers, but not what is in use', async (t) => {
  const [old, used, fresh] = [Date.UTC(2020, 0), Date.UTC(2021, 0), Date.now()];
  const beside = besides([old, used, fresh], new Set([used]));
  const { cache, add, kept } = await setUp(t, noLimits, beside);
  await add('a');
  await Array.fromAsync(cache.prune({ unusedMs: 60_000, keepBytes: 0 }));
  assert.deepEqual([await kept(), [...beside.left]], ['', [used, fresh]]);
});

test('Cache says that it is full when what is needed is above the limit, and that it is not any more', async (t) => {
  const limits = { ...noLimits, max: { bytes: 9 * mib }, highWater: 0.9, lowWater: 0.7 };
  const { cache, add, kept, needed } = await setUp(t, limits);
  for (const name of ['a', 'b', 'c']) {
    await add(name);
    needed.add(keyOf(name));
  }
  await cache.trim();
  assert.equal(await kept(), 'abc');
  assert.ok(cache.isFull);
  needed.delete(keyOf('b'));
  needed.delete(keyOf('c'));
  await cache.trim();
  assert.equal(await kept(), 'a');
  assert.ok(!cache.isFull);
});

test('Cache removes what is left of a layer that was never indexed to the end, unless somebody is at it', async (t) => {
  const { root, cache, open } = await setUp(t);
  for (const name of ['a', 'b']) {
    await mkdir(join(root, 'layers', hexOf(name), toc), { recursive: true });
    await writeFile(join(root, 'layers', hexOf(name), toc, 'disk'), 'half');
  }
  open.set(keyOf('b'), { parts: 0, damaged: 0 });
  await cache.trim();
  assert.deepEqual(await readdir(join(root, 'layers')), [hexOf('b')]);
});

test('Cache looks after its limits by itself once it has been started', async (t) => {
  const { cache, add, kept } = await setUp(t, { ...noLimits, max: { bytes: 6 * mib } });
  for (const name of ['a', 'b']) await add(name);
  cache.check();
  cache.start();
  await until(async () => (await kept()) === 'b');
});

test('Cache prunes what is not needed, by age and down to a size', async (t) => {
  const { cache, add, kept, needed } = await setUp(t);
  for (const name of ['a', 'b', 'c', 'd']) await add(name);
  needed.add(keyOf('b'));
  const ageOfC = Date.now() - Date.UTC(2026, 0, 3);
  const old = await Array.fromAsync(cache.prune({ unusedMs: ageOfC, keepBytes: 0 }));
  assert.deepEqual(
    old.map(({ digest }) => digest.at(-1)),
    ['a', 'c'],
  );
  await add('f');
  await Array.fromAsync(cache.prune({ unusedMs: 0, keepBytes: 9 * mib }));
  assert.equal(await kept(), 'bf');
  await Array.fromAsync(cache.prune({ unusedMs: 0, keepBytes: 0 }));
  assert.equal(await kept(), 'b');
});

test('Cache prunes what was used when the clock was ahead', async (t) => {
  const beside = besides([Date.now() + 24 * 3600 * 1000]);
  const { cache, add, kept } = await setUp(t, noLimits, beside);
  await add('a');
  t.mock.timers.enable({ apis: ['Date'], now: Date.UTC(2020, 0) });
  await Array.fromAsync(cache.prune({ unusedMs: 1, keepBytes: 0 }));
  assert.deepEqual([await kept(), beside.left.size], ['a', 1]);
  await Array.fromAsync(cache.prune({ unusedMs: 0, keepBytes: 0 }));
  assert.deepEqual([await kept(), beside.left.size], ['', 0]);
});

test('Cache verifies every part on the disk, and what is damaged counts as absent from then on', async (t) => {
  const { cache, add, open: opened } = await setUp(t);
  await add('a');
  const b = await add('b');
  const c = await add('c');
  await add('d');
  opened.set(keyOf('d'), { parts: 7, damaged: 2 });
  await using disk = await open(b.diskPath, 'r+');
  await disk.write(Buffer.from('rot'), 0, 3, 4096 + mib + 17);
  await writeFile(c.tablePath, 'rot');
  const found: [string | undefined, Verified | undefined][] = [];
  for await (const { layer, found: verified } of cache.verify()) found.push([layer.digest.at(-1), verified]);
  assert.deepEqual(found, [
    ['a', { parts: 3, damaged: 0 }],
    ['b', { parts: 3, damaged: 1 }],
    ['c', undefined],
    ['d', { parts: 7, damaged: 2 }],
  ]);
  const record = await b.record();
  assert.ok(record);
  assert.deepEqual([...(await b.resident(record)).resident], [2, 0, 2, 0]);
  assert.equal(await c.record(), undefined, 'a layer without a table is of no use');
});

test('Cache verifies a layer that is opened or closed meanwhile, and passes over one that is removed', async (t) => {
  const { root, cache, open, events, add } = await setUp(t);
  for (const name of ['a', 'b', 'c']) await add(name);
  const sum = { parts: 3, damaged: 0 };
  open.set(keyOf('b'), undefined); // it is on its way
  events.closed = (key) => {
    if (key === keyOf('a')) rmSync(join(root, 'layers', hexOf('a')), { recursive: true, force: true });
    if (key === keyOf('c') && !open.has(key)) open.set(key, undefined);
    else if (open.has(key)) open.set(key, sum);
  };
  const found = await Array.fromAsync(cache.verify());
  assert.deepEqual(
    found.map(({ layer, found: verified }) => [layer.digest.at(-1), verified]),
    [
      ['b', sum],
      ['c', sum],
    ],
  );
});

test('Cache finds room for many layers with one look at those that are kept', async (t) => {
  const { cache, add } = await setUp(t, { ...noLimits, max: { bytes: 40 * mib } });
  await add('a');
  let looks = 0;
  const list = () => {
    looks++;
    return Promise.resolve([]);
  };
  const beside = { list };
  const { cache: counted } = await setUp(t, { ...noLimits, max: { bytes: 40 * mib } }, beside);
  counted.start();
  for (let layer = 0; layer < 10; layer++) await counted.makeRoom(3 * mib);
  assert.equal(looks, 1);
  // What it has promised since counts too.
  await assert.rejects(counted.makeRoom(11 * mib + 50 * mib), { code: 'ResourceExhausted' });
  assert.equal(looks, 2);
  await cache.close();
});

test('Cache makes room for what comes beside what it has promised', async (t) => {
  const { cache, add, kept } = await setUp(t, { ...noLimits, max: { bytes: 10 * mib } });
  await add('a');
  cache.start();
  await cache.makeRoom(3 * mib);
  await cache.makeRoom(2 * mib);
  assert.equal(await kept(), 'a');
  await cache.makeRoom(2 * mib);
  assert.equal(await kept(), 'a');
});

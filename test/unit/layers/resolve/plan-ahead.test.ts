import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { estargz } from '../../../../src/formats/estargz/format.ts';
import { chunkTable } from '../../../../src/chunks/chunk-table.ts';
import { LayerDirectory } from '../../../../src/layers/store/layer-directory.ts';
import type { Planned } from '../../../../src/layers/store/plan-files.ts';
import type { Tail } from '../../../../src/layers/resolve/blob-tails.ts';
import { PlanAhead, type PlanAheadBounds } from '../../../../src/layers/resolve/plan-ahead.ts';

const mib = 1 << 20;
const tail = { data: Buffer.alloc(mib) } as Partial<Tail> as Tail;

const table = chunkTable(undefined, 1000);

/** Plans that are a file each, of a table of contents whose digest is that of the layer with `toc-` before it. */
async function setUp(t: TestContext, bounds?: PlanAheadBounds) {
  const path = await mkdtemp(join(tmpdir(), 'lazypull-plans-'));
  t.after(() => rm(path, { recursive: true }));
  const target = new LayerDirectory(join(path, 'layer'));
  await mkdir(target.path);
  const awaited: boolean[] = [];
  const ahead = new PlanAhead(
    async ({ digest }, came, { diskPath }, isAwaited) => {
      await writeFile(diskPath, digest);
      if (digest === 'bad') throw new Error('no table of contents');
      awaited.push(isAwaited());
      return { tail: came, dataEnd: 1, planned: { indexDigest: `toc-${digest}`, table } as Planned, fetchedMs: 0 };
    },
    join(path, 'ahead'),
    bounds,
  );
  return { path, ahead, target, awaited, left: async () => (await readdir(path, { recursive: true })).toSorted() };
}

test('PlanAhead.take() moves what was planned into the directory of the layer, once', async (t) => {
  const { ahead, target, awaited, left } = await setUp(t);
  ahead.begin({ digest: 'a', format: estargz }, Promise.resolve(tail));
  assert.ok(ahead.has('a'));
  const plan = await ahead.take({ digest: 'a', index: 'toc-a' }, target);
  assert.equal(plan?.tail, tail);
  assert.deepEqual(awaited, [true], 'a client came before it was planned');
  assert.deepEqual(await left(), ['ahead', 'layer', 'layer/disk']);
  assert.equal(await ahead.take({ digest: 'a', index: 'toc-a' }, target), undefined);
});

test('PlanAhead.take() gives nothing, and leaves nothing, of another table of contents or of one that is of no use', async (t) => {
  const { ahead, target, left } = await setUp(t);
  for (const [digest, index] of [
    ['a', 'toc-b'],
    ['bad', 'toc-bad'],
  ] as const) {
    ahead.begin({ digest, format: estargz }, Promise.resolve(tail));
    assert.equal(await ahead.take({ digest, index }, target), undefined);
  }
  ahead.begin({ digest: 'c', format: estargz }, Promise.reject(new Error('no answer')));
  assert.equal(await ahead.take({ digest: 'c', index: 'toc-c' }, target), undefined);
  assert.deepEqual(await left(), ['ahead', 'layer']);
});

test('PlanAhead forgets what nobody asks for, and bounds how much there is', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { ahead, target, left } = await setUp(t);
  for (let i = 0; i < 8; i++) {
    assert.ok(!ahead.isFull);
    ahead.begin({ digest: `layer-${i}`, format: estargz }, Promise.resolve(tail));
  }
  assert.ok(ahead.isFull);
  while ((await left()).length < 2 + 8 * 2) await new Promise(setImmediate);
  await new Promise(setImmediate);
  t.mock.timers.tick(20_000);
  assert.equal(await ahead.take({ digest: 'layer-0', index: 'toc-layer-0' }, target), undefined);
  await ahead.close();
  assert.deepEqual(await left(), ['layer']);
});

test('PlanAhead bounds the memory of what it has', async (t) => {
  const { ahead } = await setUp(t, { plansAhead: 8, plansAheadBytes: 2 * mib });
  for (const digest of ['a', 'b']) {
    assert.ok(!ahead.isFull);
    ahead.begin({ digest, format: estargz }, Promise.resolve(tail));
  }
  while (!ahead.isFull) await new Promise(setImmediate);
  await ahead.close();
  assert.ok(!ahead.isFull);
});

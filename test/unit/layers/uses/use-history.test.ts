import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { silentLog } from '../../../../src/log.ts';
import { type LayerActivity, nothingFetched } from '../../../../src/layers/uses/layer-use.ts';
import { maxUses, type UsedLayer, UseHistory } from '../../../../src/layers/uses/use-history.ts';
import { aUse } from '../../../support/layer-use.ts';

function pathFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-uses-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'uses.json');
}

function aLayer(digest: string, activity: Partial<LayerActivity> = {}): UsedLayer {
  return {
    record: { digest, blobBytes: 40_000 },
    origin: { how: 'toc', text: 'by its table of contents' },
    openedMs: Date.now(),
    complete: false,
    activity: () => Promise.resolve({ ...aUse(), ...activity }),
  };
}

const digestOf = (i: number): string => `sha256:${String(i).padStart(64, '0')}`;
const images = new Set(['registry.example/app:1']);

test('UseHistory keeps what ended in a file, and counts on from when it began', async (t) => {
  const path = pathFor(t);
  const history = UseHistory.load(path, silentLog);
  await history.begin(aLayer(digestOf(1)), images, false).end();
  await history.close();
  const again = UseHistory.load(path, silentLog);
  assert.deepEqual(await again.list(), await history.list());
  assert.equal(again.sinceMs, history.sinceMs);
  assert.equal((await again.list())[0]?.strip?.length, 288);
});

test('UseHistory goes on with the use of a layer that stays mounted over a restart', async (t) => {
  const path = pathFor(t);
  const history = UseHistory.load(path, silentLog);
  history.begin(aLayer(digestOf(1), { waits: 3, fetched: { ...nothingFetched, demand: 10 } }), images, false);
  await history.close();
  const again = UseHistory.load(path, silentLog);
  const use = again.begin(aLayer(digestOf(1), { waits: 4, fetched: { ...nothingFetched, demand: 5 } }), images, true);
  await use.end();
  const [joined, ...others] = await again.list();
  assert.deepEqual(others, []);
  assert.deepEqual([joined?.waits, joined?.fetched.demand, joined?.isLeft], [7, 15, false]);
});

test('UseHistory ends the uses of layers that are not mounted after a restart', async (t) => {
  const path = pathFor(t);
  const history = UseHistory.load(path, silentLog);
  history.begin(aLayer(digestOf(1)), images, false);
  history.begin(aLayer(digestOf(2)), images, false);
  await history.close();
  const again = UseHistory.load(path, silentLog);
  again.begin(aLayer(digestOf(2)), images, true);
  const ended = (await again.list()).map(({ digest, endedMs }) => [digest, endedMs !== undefined]);
  assert.deepEqual(ended, [
    [digestOf(1), true],
    [digestOf(2), false],
  ]);
});

test('UseHistory says of a mount that it finds that it knows only a part', async (t) => {
  const history = UseHistory.load(pathFor(t), silentLog);
  history.begin(aLayer(digestOf(1)), images, true);
  assert.equal((await history.list())[0]?.isLeft, true);
});

test('UseHistory forgets the oldest uses', async (t) => {
  const history = UseHistory.load(pathFor(t), silentLog);
  for (let i = 0; i <= maxUses; i++) await history.begin(aLayer(digestOf(i)), images, false).end();
  const uses = await history.list();
  assert.equal(uses.length, maxUses);
  assert.equal(uses[0]?.digest, digestOf(1));
});

test('UseHistory begins again if its file is damaged, and takes nothing from it that is no use', async (t) => {
  const path = pathFor(t);
  for (const text of ['', '{', 'null', '[]', '{"version":2,"sinceMs":1,"uses":[]}', '{"version":1,"sinceMs":1}']) {
    writeFileSync(path, text);
    assert.deepEqual(await UseHistory.load(path, silentLog).list(), [], text);
  }
  const bad = { ...aUse(), strip: 'AAAA', waits: -1, fetched: { demand: 'x' }, howText: 5 };
  const uses = [null, 1, { digest: 'x' }, { ...bad, how: 'magic' }, bad];
  writeFileSync(path, JSON.stringify({ version: 1, sinceMs: 1, uses }));
  const list = await UseHistory.load(path, silentLog).list();
  assert.equal(list.length, 1);
  assert.deepEqual([list[0]?.strip, list[0]?.waits, list[0]?.fetched.demand, list[0]?.howText], [undefined, 0, 0, '']);
});

test('UseHistory keeps a use whose layer cannot be read any more', async (t) => {
  const path = pathFor(t);
  const history = UseHistory.load(path, silentLog);
  await history
    .begin({ ...aLayer(digestOf(1)), activity: () => Promise.reject(new Error('gone')) }, images, false)
    .end();
  assert.equal((await history.list()).length, 1);
  await history.close();
  assert.match(readFileSync(path, 'utf8'), /"version":1/);
});

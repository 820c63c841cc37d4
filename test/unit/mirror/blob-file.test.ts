import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { silentLog } from '../../../src/log.ts';
import { BlobFile, type Room } from '../../../src/mirror/blob-file.ts';

const roomy: Room = { hasRoom: () => true, onGrowth: () => undefined };

async function start(t: TestContext, room = roomy): Promise<{ path: string; open: () => Promise<BlobFile> }> {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-kept-'));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, 'blob');
  return { path, open: () => BlobFile.open(path, room, silentLog) };
}

/** Claims, puts and releases in one go, and waits for the disk. */
async function keep(kept: BlobFile, start: number, text: string): Promise<void> {
  const claim = kept.claim(start, start + text.length);
  kept.put(claim, start, Buffer.from(text));
  kept.release(claim);
  await kept.written();
}

test('BlobFile says which bytes are here, on their way, or neither', async (t) => {
  const kept = await (await start(t)).open();
  t.after(() => kept.abandon());
  kept.learnSize(100);
  assert.deepEqual([kept.isEmpty, kept.isComplete, kept.isIdle], [true, false, true]);
  await keep(kept, 10, '0123456789');
  const claim = kept.claim(30, 40);
  assert.deepEqual([kept.endOf(0), kept.endOf(10), kept.endOf(15)], [0, 20, 20]);
  assert.deepEqual([kept.claimedUpTo(29), kept.claimedUpTo(30), kept.claimedUpTo(40)], [29, 40, 40]);
  assert.deepEqual([kept.nextKnown(0), kept.nextKnown(20), kept.nextKnown(40)], [10, 30, Number.POSITIVE_INFINITY]);
  assert.equal(kept.isIdle, false);
  kept.release(claim);
  await kept.changed();
  assert.equal(kept.claimedUpTo(30), 30);
  assert.equal(String(await kept.read(12, 15)), '234');
});

test('BlobFile keeps over a restart what was written down, and nothing of a file that is too short', async (t) => {
  const { path, open } = await start(t);
  const first = await open();
  first.learnSize(6);
  await keep(first, 0, 'abcdef');
  assert.equal(first.isComplete, true);
  await first.close();
  const second = await open();
  assert.deepEqual([second.size, second.isComplete, String(await second.read(0, 6))], [6, true, 'abcdef']);
  await second.close();
  await truncate(join(path, 'data'), 5);
  const third = await open();
  assert.deepEqual([third.size, third.isEmpty], [undefined, true]);
  await third.abandon();
});

test('BlobFile believes no record that is damaged', async (t) => {
  const { path, open } = await start(t);
  const first = await open();
  first.learnSize(3);
  await keep(first, 0, 'abc');
  await first.close();
  await writeFile(join(path, 'record'), 'not a record');
  const second = await open();
  assert.deepEqual([second.size, second.isEmpty], [undefined, true]);
  await second.abandon();
});

test('BlobFile drops everything if two sizes of the blob contradict each other', async (t) => {
  const kept = await (await start(t)).open();
  t.after(() => kept.abandon());
  await keep(kept, 0, 'abcdef');
  kept.learnSize(6);
  assert.equal(kept.generation, 0);
  kept.learnSize(5);
  assert.deepEqual([kept.generation, kept.size, kept.isEmpty], [1, 5, true]);
});

test('BlobFile keeps nothing of a claim that is older than the content', async (t) => {
  const { path, open } = await start(t);
  const kept = await open();
  t.after(() => kept.abandon());
  const claim = kept.claim(0, 3);
  kept.drop();
  assert.equal(kept.claimedUpTo(0), 0);
  kept.put(claim, 0, Buffer.from('abc'));
  kept.release(claim);
  await kept.written();
  assert.equal(kept.isEmpty, true);
  assert.equal((await stat(join(path, 'data'))).size, 0);
  await assert.rejects(kept.read(0, 3), { code: 'DataLoss' });
});

test('BlobFile keeps nothing without room, and tells each growth', async (t) => {
  let hasRoom = false;
  let growths = 0;
  const kept = await (await start(t, { hasRoom: () => hasRoom, onGrowth: () => void growths++ })).open();
  t.after(() => kept.abandon());
  await keep(kept, 0, 'abc');
  assert.deepEqual([kept.takesMore, kept.isEmpty, growths], [false, true, 0]);
  hasRoom = true;
  await keep(kept, 0, 'abc');
  assert.deepEqual([kept.takesMore, kept.isEmpty, growths], [true, false, 1]);
});

test('BlobFile.put gathers pieces in order, and those that leave a gap apart', async (t) => {
  const kept = await (await start(t)).open();
  t.after(() => kept.abandon());
  const claim = kept.claim(0, 10);
  kept.put(claim, 0, Buffer.from('ab'));
  kept.put(claim, 2, Buffer.from('cd'));
  kept.put(claim, 7, Buffer.from('hi'));
  kept.release(claim);
  await kept.written();
  assert.deepEqual([kept.endOf(0), kept.endOf(4), kept.nextKnown(4), kept.endOf(7)], [4, 4, 7, 9]);
  assert.equal(String(await kept.read(0, 4)) + String(await kept.read(7, 9)), 'abcdhi');
});

test('BlobFile.changed resolves when something comes, and rejects when its signal aborts', async (t) => {
  const kept = await (await start(t)).open();
  t.after(() => kept.abandon());
  const aborted = new AbortController();
  const waiting = kept.changed(aborted.signal);
  aborted.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  const changed = kept.changed();
  await keep(kept, 0, 'abc');
  await changed;
  await assert.rejects(kept.changed(AbortSignal.abort(new Error('before'))), /before/);
});

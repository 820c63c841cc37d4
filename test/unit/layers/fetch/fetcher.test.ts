import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Fetcher } from '../../../../src/layers/fetch/fetcher.ts';
import { Link } from '../../../../src/layers/fetch/link.ts';
import { membersCodec } from '../../../../src/formats/gzip/members-codec.ts';
import { residency } from '../../../../src/chunks/residency.ts';
import { WorkerPool } from '../../../../src/layers/workers/pool.ts';
import { ampleMemory } from '../../../../src/layers/memory-budget.ts';
import { UnwrittenChunks } from '../../../../src/layers/store/unwritten-chunks.ts';
import { silentLog } from '../../../../src/log.ts';
import { chunkedBlob, FakeBlob, oneStreamBlob } from '../../../support/chunked-blob.ts';
import { until } from '../../../support/until.ts';

interface Lab {
  spoil?: (bytes: Buffer) => void;
  /** A disk that is always full. */
  full?: boolean;
  /** One stream for all contents. */
  together?: boolean;
}

async function setUp(t: TestContext, contents: Buffer[], { spoil, full = false, together = false }: Lab = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-fetcher-'));
  const { bytes, table, diskBytes } = together ? oneStreamBlob(contents) : chunkedBlob(contents);
  spoil?.(bytes);
  const diskPath = join(directory, 'disk');
  const disk = await open(diskPath, 'w');
  await disk.truncate(diskBytes);
  await disk.close();
  const resident = new Uint8Array(new SharedArrayBuffer(table.length));
  const blob = new FakeBlob(bytes);
  const threads = new WorkerPool(ampleMemory, silentLog);
  const damaged: number[] = [];
  const unwritable: string[] = [];
  /** How many rows were resident at each call of `onKept`. */
  const kept: number[] = [];
  const errors: { row: number; message: string; isAwaited: boolean }[] = [];
  const fetcher = new Fetcher({
    bytesNeeded: membersCodec.bytesNeeded,
    table,
    resident,
    read: new Uint8Array(table.length).fill(1),
    blob,
    threads,
    link: new Link(),
    target: threads.add({ diskPath: full ? '/dev/full' : diskPath, format: 'estargz', table, resident }),
    onError: (error, row, isAwaited) => errors.push({ row, message: error.message, isAwaited }),
    onDamage: (rows) => damaged.push(...rows),
    unwritten: new UnwrittenChunks(),
    onUnwritable: (error) => unwritable.push(error.message),
    onKept: () => kept.push(resident.filter((state) => state !== residency.absent).length),
  });
  t.after(async () => {
    await fetcher.close();
    await threads.close();
    await rm(directory, { recursive: true });
  });
  const content = async (row: number) => {
    const at = table.diskOffset[row]!;
    return (await readFile(diskPath)).subarray(at, at + table.size[row]!);
  };
  const allocatedBytes = async () => (await stat(diskPath)).blocks * 512;
  /** Has everything fetched, and then makes the disk one from an earlier life, of which some bytes may have changed. */
  const restart = async (damage: (disk: FileHandle) => Promise<unknown> = () => Promise.resolve()) => {
    await fetcher.fetch(0, table.length);
    await until(() => fetcher.isIdle); // what was late was asked for twice, and is written twice
    blob.requests.length = 0;
    await using file = await open(diskPath, 'r+');
    await damage(file);
    resident.fill(residency.unverified);
  };
  return {
    contents,
    table,
    resident,
    blob,
    fetcher,
    errors,
    damaged,
    unwritable,
    kept,
    content,
    bytes,
    allocatedBytes,
    restart,
  };
}

const isComplete = (resident: Uint8Array) => resident.every((state) => state === residency.verified);

const files = (count: number, size: number) => Array.from({ length: count }, () => randomBytes(size));

test('Fetcher reports chunks when they are resident, so that no record says otherwise', async (t) => {
  const { fetcher, kept, table } = await setUp(t, files(20, 3000));
  await fetcher.fetch(0, table.length);
  assert.equal(kept.at(-1), table.length);
  const broken = await setUp(t, files(1, 3000), { full: true });
  await broken.fetcher.fetch(0, 1);
  assert.deepEqual(broken.kept, []);
});

test('Fetcher makes a missing chunk and its neighbours resident with one request', async (t) => {
  const contents = files(20, 3000);
  const { fetcher, blob, content, resident } = await setUp(t, contents);
  await fetcher.fetch(7, 8);
  assert.deepEqual(await content(7), contents[7]);
  await fetcher.fetch(0, 20);
  assert.equal(blob.requests.length, 1);
  assert.ok(isComplete(resident));
});

test('Fetcher takes no disk space for zeros', async (t) => {
  const contents = [Buffer.alloc(5 << 20), Buffer.concat([Buffer.alloc(100_000), Buffer.from('x')])];
  const { fetcher, content, allocatedBytes } = await setUp(t, contents);
  await fetcher.fetch(0, 2);
  for (const row of contents.keys()) assert.deepEqual(await content(row), contents[row]);
  assert.ok((await allocatedBytes()) < 1 << 20);
});

test('Fetcher joins misses of chunks that are being fetched', async (t) => {
  const contents = files(50, 2000);
  const { fetcher, blob, content } = await setUp(t, contents);
  await Promise.all(Array.from({ length: 200 }, (_, i) => fetcher.fetch(i % 50, (i % 50) + 1)));
  assert.equal(blob.requests.length, 1);
  for (const row of contents.keys()) assert.deepEqual(await content(row), contents[row]);
});

test('Fetcher lets a reader go on before the window is complete', async (t) => {
  const { fetcher, blob, resident } = await setUp(t, files(20, 40_000));
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  blob.beforePiece = (at) => (at > 200_000 ? gate : Promise.resolve());
  await fetcher.fetch(1, 2);
  assert.equal(resident[19], 0);
  open();
  await fetcher.fetch(19, 20);
});

test('Fetcher reports a chunk with a wrong digest, does not make it readable, and keeps its neighbours', async (t) => {
  const contents = files(6, 1000);
  const { fetcher, errors, resident, table, bytes } = await setUp(t, contents);
  table.digest[3 * 32]! ^= 1;
  await assert.rejects(fetcher.fetch(3, 4), /Wrong chunk digest/);
  await Promise.all([fetcher.fetch(0, 3), fetcher.fetch(4, 6)]);
  assert.deepEqual([...resident], [1, 1, 1, 0, 1, 1]);
  assert.equal(errors.length, 1);
  assert.equal(errors[0]?.row, 3);
  assert.equal(errors[0]?.isAwaited, true);
  table.digest[3 * 32]! ^= 1;
  await fetcher.fetch(3, 4); // the next read tries again
  assert.equal(resident[3], 1);
  assert.ok(bytes.length > 0);
});

test('Fetcher reports a broken gzip stream', async (t) => {
  const { fetcher, resident, errors } = await setUp(t, files(3, 1000), { spoil: (bytes) => bytes.fill(0, 0, 30) });
  await assert.rejects(fetcher.fetch(0, 1), /gzip/);
  await fetcher.fetch(1, 3);
  assert.deepEqual([...resident], [0, 1, 1]);
  assert.equal(errors[0]?.row, 0);
});

test('Fetcher rejects the waiters of a request that breaks, and tries again at the next miss', async (t) => {
  const contents = files(8, 15_000);
  const { fetcher, blob, errors, content } = await setUp(t, contents);
  blob.beforePiece = (at) => (at > 40_000 ? Promise.reject(new Error('reset')) : Promise.resolve());
  const outcomes = await Promise.allSettled([fetcher.fetch(0, 1), fetcher.fetch(7, 8)]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
  assert.equal(errors.length, 1);
  blob.beforePiece = () => Promise.resolve();
  await fetcher.fetch(0, 8);
  assert.deepEqual(await content(7), contents[7]);
});

test('Fetcher keeps complete chunks of bytes that came for another reason', async (t) => {
  const { fetcher, blob, resident, bytes, table } = await setUp(t, files(10, 2000));
  const start = table.streamOffset[6]! - 5;
  await fetcher.offer(bytes.subarray(start), start);
  assert.deepEqual([...resident], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
  assert.equal(blob.requests.length, 0);
  await fetcher.offer(bytes, 0);
  assert.ok(isComplete(resident));
});

test('Fetcher streams the rest of a layer that is read from start to end', async (t) => {
  const contents = files(60, 1 << 20);
  const { fetcher, blob, content, resident } = await setUp(t, contents);
  for (const row of contents.keys()) await fetcher.fetch(row, row + 1);
  assert.ok(isComplete(resident));
  assert.ok(blob.requests.length < 15, `${blob.requests.length} requests`);
  for (const row of [0, 31, 59]) assert.deepEqual(await content(row), contents[row]);
  const asked = blob.requests.reduce((sum, { start, end }) => sum + end - start, 0);
  assert.ok(asked <= (60 << 20) * 1.01, 'no byte is fetched twice');
});

test('Fetcher verifies what is here from an earlier life when it is read, without a request', async (t) => {
  const { fetcher, blob, resident, damaged, restart } = await setUp(t, files(400, 10_000));
  await restart();
  await fetcher.fetch(5, 7);
  assert.equal(resident[5], residency.verified);
  assert.equal(resident[399], residency.unverified, 'nobody waits for the whole layer');
  while ((await fetcher.verifySome()) > 0);
  assert.ok(isComplete(resident));
  assert.equal(blob.requests.length, 0);
  assert.deepEqual(damaged, []);
});

test('Fetcher fetches damaged chunks again, and only those', async (t) => {
  const contents = [...files(9, 50_000), Buffer.alloc(50_000), ...files(10, 50_000)];
  const { fetcher, blob, table, content, damaged, restart } = await setUp(t, contents);
  await restart(async (disk) => {
    for (const row of [3, 9]) await disk.write(Buffer.from('rot'), 0, 3, table.diskOffset[row]! + 7777);
    await disk.truncate(table.diskOffset[18]! + 5);
  });
  await fetcher.fetch(0, 20);
  for (const row of contents.keys()) assert.deepEqual(await content(row), contents[row], `row ${row}`);
  assert.deepEqual(damaged, [3, 9, 18, 19]);
  const asked = blob.requests.reduce((sum, { start, end }) => sum + end - start, 0);
  assert.ok(asked < 5 * 50_000, `${asked} bytes`);
});

test('Fetcher finds what was damaged since it was verified, if it is told to look', async (t) => {
  const contents = files(8, 3 << 20);
  const { fetcher, table, content, resident, damaged, restart } = await setUp(t, contents);
  await restart((disk) => disk.write(Buffer.from('rot'), 0, 3, table.diskOffset[6]!));
  resident.fill(residency.verified);
  resident[2] = residency.absent;
  assert.deepEqual(await fetcher.verifyAll(), { chunks: 7, damaged: 1 });
  assert.deepEqual(damaged, [6]);
  await fetcher.fetch(6, 7);
  assert.deepEqual(await content(6), contents[6]);
});

test('Fetcher gives readers from memory what the disk refuses', async (t) => {
  const contents = files(30, 20_000);
  const { fetcher, blob, table, resident, errors, unwritable } = await setUp(t, contents, { full: true });
  assert.deepEqual(await fetcher.fetch(4, 6), [
    { chunk: 4, content: new Uint8Array(contents[4]!) },
    { chunk: 5, content: new Uint8Array(contents[5]!) },
  ]);
  assert.match(unwritable[0] ?? '', /ENOSPC/);
  assert.deepEqual(errors, [], 'nobody gets EIO');
  assert.ok(resident.every((state) => state === residency.absent));

  const before = blob.requests.length;
  await fetcher.fetch(4, 6);
  assert.equal(blob.requests.length, before, 'it is in memory for the next piece');
  await fetcher.fetch(20, 21);
  const { start, end } = blob.requests.at(-1)!;
  assert.deepEqual([start, end], [table.streamOffset[20], table.streamEnd[20]], 'neighbours are not fetched in vain');
});

test('Fetcher gives even late readers what the disk refuses', async (t) => {
  const contents = files(30, 20_000);
  const { fetcher } = await setUp(t, contents, { full: true });
  const all = await Promise.all(
    Array.from({ length: 300 }, async (_, i) => {
      if (i >= 30) await new Promise((resolve) => setTimeout(resolve, i));
      return fetcher.fetch(i % 30, (i % 30) + 1);
    }),
  );
  for (const [i, [unwritten]] of all.entries()) {
    assert.deepEqual(unwritten, { chunk: i % 30, content: new Uint8Array(contents[i % 30]!) });
  }
});

test('Fetcher ends its requests when it is closed', async (t) => {
  const { fetcher, blob } = await setUp(t, files(4, 100_000));
  blob.beforePiece = () => new Promise((resolve) => setTimeout(resolve, 20));
  const waiting = fetcher.fetch(3, 4);
  await fetcher.close();
  await assert.rejects(waiting);
});

test('Fetcher asks another server for wrong chunks, once, before a reader gets an error', async (t) => {
  const contents = files(4, 3000);
  let right: Buffer | undefined;
  const { fetcher, blob, errors, content, bytes } = await setUp(t, contents, {
    spoil: (all) => {
      right = Buffer.from(all);
      all[100]! ^= 1;
    },
  });
  let others = 1;
  blob.distrust = () => Promise.resolve(others-- > 0 && right!.copy(bytes) > 0);
  await fetcher.fetch(0, 1);
  assert.deepEqual(await content(0), contents[0]);
  assert.equal(blob.requests.length, 2);
  assert.deepEqual(
    errors.map(({ row, isAwaited }) => [row, isAwaited]),
    [[0, false]],
  );
});

test('Fetcher gives up on chunks that are wrong everywhere', async (t) => {
  const { fetcher, blob } = await setUp(t, files(1, 3000), { spoil: (bytes) => void (bytes[100]! ^= 1) });
  blob.distrust = () => Promise.resolve(true);
  for (const requests of [2, 4]) {
    await assert.rejects(fetcher.fetch(0, 1), { code: 'DataLoss' });
    assert.equal(blob.requests.length, requests);
  }
});

/**
 * A layer whose first request stalls after its first megabyte, until `goOn` is called; `read` resolves with what
 * happens first, the read of a row or that nothing happens.
 */
async function setUpStalled(t: TestContext) {
  const lab = await setUp(t, files(40, 100_000));
  const { table, blob, fetcher } = lab;
  const stall = Promise.withResolvers<undefined>();
  const reached = Promise.withResolvers<undefined>();
  blob.beforePiece = (offset) => {
    if (offset <= 1 << 20 || blob.requests.length > 1) return delay(8);
    reached.resolve(undefined);
    return stall.promise;
  };
  fetcher.prefetchUpTo(table.streamEnd.at(-1)!);
  await fetcher.fetch(0, 1);
  await reached.promise;
  assert.equal(blob.requests.length, 1);
  const over = new AbortController();
  t.after(() => over.abort());
  const nothing = delay(20_000, 'nothing', { signal: over.signal }).catch(() => 'over');
  const read = (row: number) => Promise.race([fetcher.fetch(row, row + 1).then(() => 'read'), nothing]);
  return { ...lab, read, goOn: stall.resolve, fail: stall.reject };
}

test('Fetcher requests once more what a reader waits for, if it comes last in a request that has become slow', {
  timeout: 60_000,
}, async (t) => {
  const { table, blob, read, goOn, resident, errors, content, contents } = await setUpStalled(t);
  assert.equal(await read(30), 'read');
  assert.deepEqual(blob.requests.slice(1), [{ start: table.streamOffset[30]!, end: table.streamEnd[30]! }]);
  assert.deepEqual(await content(30), contents[30]);
  goOn(undefined);
  await until(() => isComplete(resident));
  assert.deepEqual(await content(39), contents[39]);
  assert.equal(blob.requests.length, 2);
  assert.deepEqual(errors, []);
});

test('Fetcher waits for the slow request when the one that overtakes it fails', { timeout: 60_000 }, async (t) => {
  const { blob, read, goOn, content, contents, errors } = await setUpStalled(t);
  const slow = blob.beforePiece;
  blob.beforePiece = async (offset) => {
    await slow(offset);
    if (blob.requests.length === 2 && errors.length === 0 && offset === blob.requests[1]!.start)
      throw new Error('gone');
  };
  const reading = read(30);
  await until(() => errors.length > 0);
  goOn(undefined);
  assert.equal(await reading, 'read');
  assert.deepEqual(await content(30), contents[30]);
});

test('Fetcher waits for the request that overtakes a slow one when that fails', { timeout: 60_000 }, async (t) => {
  const { blob, read, fail, content, contents, errors } = await setUpStalled(t);
  const overtaking = Promise.withResolvers<undefined>();
  const slow = blob.beforePiece;
  blob.beforePiece = async (offset) => {
    if (blob.requests.length === 2 && offset === blob.requests[1]!.start) await overtaking.promise;
    else await slow(offset);
  };
  const reading = read(30);
  await until(() => blob.requests.length > 1);
  fail(new Error('gone'));
  await until(() => errors.length > 0);
  overtaking.resolve(undefined);
  assert.equal(await reading, 'read');
  assert.deepEqual(await content(30), contents[30]);
});

const inStream = (): Buffer[] => Array.from({ length: 20 }, () => Buffer.from(randomBytes(30_000).toString('hex')));

test('A chunk comes with what is before it in its stream, and the second time with all of it', async (t) => {
  const { fetcher, blob, table, resident } = await setUp(t, inStream(), { together: true });
  await fetcher.fetch(7, 8);
  const [first] = blob.requests;
  assert.ok(first?.start === 0 && first.end >= table.streamEnd[7]! && first.end < table.streamEnd[16]!);
  const here = table.streamEnd.findIndex((end) => end > first.end);
  await until(() => fetcher.isIdle);
  assert.ok(resident.every((state, chunk) => (state === residency.verified) === chunk < here));
  await fetcher.fetch(18, 19);
  assert.deepEqual(blob.requests.slice(1), [{ start: 0, end: table.streamEnd[19]! }]);
  await until(() => fetcher.isIdle);
  assert.ok(resident.every((state) => state === residency.verified));
});

test('prefetch() takes chunks of one stream with one range', async (t) => {
  const { fetcher, blob, table, resident } = await setUp(t, inStream(), { together: true });
  const wanted = [3, 5, 11].map((chunk) => ({ first: chunk, last: chunk + 1 }));
  fetcher.prefetch(wanted, table.streamEnd[11]!);
  await until(() => fetcher.isIdle);
  assert.deepEqual(blob.requests, [{ start: 0, end: table.streamEnd[11]! }]);
  assert.ok(resident.every((state, chunk) => (state === residency.verified) === chunk < 12));
});

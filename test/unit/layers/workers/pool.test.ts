import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ampleMemory } from '../../../../src/layers/memory-budget.ts';
import { pooledBytes } from '../../../../src/layers/workers/buffer-pool.ts';
import { WorkerPool } from '../../../../src/layers/workers/pool.ts';
import { residency } from '../../../../src/chunks/residency.ts';
import { silentLog } from '../../../../src/log.ts';
import { chunkedBlob } from '../../../support/chunked-blob.ts';
import { until } from '../../../support/until.ts';

async function setUp(t: TestContext, rows: number) {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-threads-'));
  const { bytes, table, diskBytes } = chunkedBlob(Array.from({ length: rows }, () => randomBytes(20_000)));
  const diskPath = join(directory, 'disk');
  await writeFile(diskPath, '');
  await truncate(diskPath, diskBytes);
  const resident = new Uint8Array(new SharedArrayBuffer(table.length));
  const threads = new WorkerPool(ampleMemory, silentLog);
  t.after(async () => {
    await threads.close();
    await rm(directory, { recursive: true });
  });
  const target = { diskPath, format: 'estargz', table, resident };
  const unpackRow = (id: number, row: number, isAwaited = () => false) => {
    const [start, end] = [table.streamOffset[row]!, table.streamEnd[row]!];
    const stream = new Uint8Array(new SharedArrayBuffer(end - start));
    stream.set(bytes.subarray(start, end));
    return threads.unpack(id, { first: row, last: row + 1 }, stream, start, isAwaited);
  };
  return { threads, target, resident, unpackRow };
}

test('WorkerPool does what readers wait for before what nobody waits for, also when that begins later', async (t) => {
  const { threads, target, unpackRow } = await setUp(t, 9);
  const id = threads.add(target);
  const order: number[] = [];
  let isFourAwaited = false;
  const jobs = Array.from({ length: 8 }, (_, row) =>
    unpackRow(id, row, () => row === 4 && isFourAwaited).then(() => order.push(row)),
  );
  jobs.push(unpackRow(id, 8, () => true).then(() => order.push(8)));
  isFourAwaited = true;
  await Promise.all(jobs);
  assert.deepEqual(order, [0, 1, 4, 8, 2, 3, 5, 6, 7]);
});

test('WorkerPool.attend has memory released once there is no work, however little there was', async (t) => {
  const { threads, target, unpackRow } = await setUp(t, 1);
  await unpackRow(threads.add(target), 0);
  const take = (): Uint8Array => {
    const buffer = threads.buffers.take(pooledBytes);
    buffer.release();
    return buffer.bytes;
  };
  const first = take();
  assert.equal(take(), first);
  threads.attend();
  await until(() => take() !== first, 'nothing is released');
});

test('WorkerPool fails the rows of a disk that is gone, and no others', async (t) => {
  const { threads, target, resident, unpackRow } = await setUp(t, 2);
  const gone = threads.add({ ...target, diskPath: `${target.diskPath}-gone` });
  const [failure] = await unpackRow(gone, 0);
  assert.equal(failure?.code, 'Unavailable');
  assert.match(failure.message, /Cannot open the disk file: ENOENT/);
  assert.deepEqual(await unpackRow(threads.add(target), 1), []);
  assert.deepEqual([...resident], [residency.absent, residency.verified]);
});

test('WorkerPool fails the rows of a layer that was removed', async (t) => {
  const { threads, target, unpackRow } = await setUp(t, 1);
  const id = threads.add(target);
  threads.remove(id);
  assert.deepEqual(
    (await unpackRow(id, 0)).map(({ chunk, code }) => ({ chunk, code })),
    [{ chunk: 0, code: 'Canceled' }],
  );
});

test('WorkerPool ends its threads after the jobs that they have', async (t) => {
  const { threads, target, resident, unpackRow } = await setUp(t, 1);
  const job = unpackRow(threads.add(target), 0);
  await threads.close();
  assert.deepEqual(await Promise.race([job, delay(1000, 'never', { ref: false })]), []);
  assert.deepEqual([...resident], [residency.verified]);
});

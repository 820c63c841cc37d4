import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { residency } from '../../../../src/chunks/residency.ts';
import { LayerDirectory } from '../../../../src/layers/store/layer-directory.ts';
import type {
  JobCommand,
  JobResult,
  UnpackCommand,
  WorkerAnswer,
  WorkerCommand,
} from '../../../../src/layers/workers/worker.ts';
import { chunkedBlob } from '../../../support/chunked-blob.ts';

const chunkBytes = 20_000;

/** A thread, and a disk of `count` chunks that it knows as target 1. */
async function setUp(t: TestContext, count: number) {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-worker-'));
  const contents = Array.from({ length: count }, (_, i) =>
    i === 0 ? Buffer.alloc(chunkBytes) : randomBytes(chunkBytes),
  );
  const { bytes, table, diskBytes } = chunkedBlob(contents);
  const diskPath = join(directory, 'disk');
  await writeFile(diskPath, '');
  await truncate(diskPath, diskBytes);
  const resident = new Uint8Array(new SharedArrayBuffer(count));
  const worker = new Worker(new URL('../../../../src/layers/workers/worker.ts', import.meta.url), {
    workerData: { unsyncedBytes: Number.POSITIVE_INFINITY, formats: [], fronts: [] },
  });
  t.after(async () => {
    await worker.terminate();
    await rm(directory, { recursive: true });
  });
  const send = (command: WorkerCommand): void => worker.postMessage(command);
  let jobs = 0;
  const job = async (command: JobCommand): Promise<JobResult> => {
    send({ kind: 'job', job: jobs++, command });
    const [answer] = (await once(worker, 'message')) as [WorkerAnswer];
    assert.ok('result' in answer);
    return answer.result;
  };
  /** Unpacks all chunks from `blob`. */
  const unpack = (blob: Buffer, options: Partial<UnpackCommand> = {}): Promise<JobResult> => {
    const shared = new Uint8Array(new SharedArrayBuffer(blob.length));
    shared.set(blob);
    const command = {
      kind: 'unpack',
      id: 1,
      first: 0,
      last: count,
      bytes: shared,
      blobOffset: 0,
      isAwaited: false,
    } as const;
    return job({ ...command, ...options });
  };
  const target = { id: 1, diskPath, format: 'estargz', table, resident };
  return { send, job, unpack, worker, target, bytes, contents, directory };
}

test('worker unpacks chunks to the disk, and leaves zeros a hole', async (t) => {
  const { send, unpack, target, bytes, contents } = await setUp(t, 3);
  send({ kind: 'add', target });
  assert.deepEqual(await unpack(bytes), { failures: [] });
  assert.deepEqual([...target.resident], Array(3).fill(residency.verified));
  const disk = await readFile(target.diskPath);
  for (const [i, content] of contents.entries()) {
    const at = target.table.diskOffset[i]!;
    assert.ok(disk.subarray(at, at + chunkBytes).equals(content), `chunk ${i}`);
  }
});

test('worker fails a chunk with a wrong digest, and keeps the others', async (t) => {
  const { send, unpack, target, bytes } = await setUp(t, 3);
  target.table.digest[32]! ^= 1;
  send({ kind: 'add', target });
  const result = await unpack(bytes);
  assert.ok('failures' in result);
  assert.deepEqual(
    result.failures.map(({ chunk, code }) => [chunk, code]),
    [[1, 'DataLoss']],
  );
  assert.deepEqual([...target.resident], [residency.verified, residency.absent, residency.verified]);
});

test('worker gives the content that the disk refuses only if a reader waits for it', async (t) => {
  const { send, unpack, target, bytes, contents } = await setUp(t, 2);
  send({ kind: 'add', target: { ...target, diskPath: '/dev/full' } });
  for (const isAwaited of [false, true]) {
    const result = await unpack(bytes, { first: 1, isAwaited });
    assert.ok('failures' in result);
    const [failure] = result.failures;
    assert.equal(failure?.code, 'ResourceExhausted');
    assert.match(failure.message, /Cannot write to the disk file: ENOSPC/);
    if (isAwaited) assert.ok(contents[1]!.equals(failure.content!));
    else assert.equal(failure.content, undefined);
  }
});

test('worker verifies the chunks on the disk, and makes wrong ones absent', async (t) => {
  const { send, job, unpack, target, bytes } = await setUp(t, 4);
  send({ kind: 'add', target });
  await unpack(bytes);
  const disk = await readFile(target.diskPath);
  disk[target.table.diskOffset[2]! + 5]! ^= 1;
  await writeFile(target.diskPath, disk);
  target.resident.fill(residency.unverified);
  target.resident[3] = residency.absent;
  const result = await job({ kind: 'verify', id: 1, first: 0, last: 4 });
  assert.ok('failures' in result);
  assert.deepEqual(
    result.failures.map(({ chunk, code }) => [chunk, code]),
    [[2, 'DataLoss']],
  );
  assert.deepEqual([...target.resident], [residency.verified, residency.verified, residency.absent, residency.absent]);
});

test('worker refuses to plan a layer of a format that it does not know', async (t) => {
  const { job, directory } = await setUp(t, 1);
  const raw = { bytes: Buffer.alloc(1), start: 0, fileBytes: 1, dataEnd: 0 };
  const { paths } = new LayerDirectory(directory);
  const request = { format: 'of-tomorrow', raw, wanted: { layer: '', index: '' }, paths };
  assert.deepEqual(await job({ kind: 'plan', request }), {
    error: { code: 'Unimplemented', message: 'This version does not know the layer format "of-tomorrow"' },
  });
});

test('worker ends after the jobs that it was given', async (t) => {
  const { send, unpack, worker, target, bytes } = await setUp(t, 2);
  send({ kind: 'add', target });
  const unpacking = unpack(bytes);
  const ended = once(worker, 'exit');
  send({ kind: 'end' });
  assert.deepEqual(await unpacking, { failures: [] });
  assert.deepEqual(await ended, [0]);
});

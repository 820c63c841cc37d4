import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { LazypullError } from '../../../../src/errors.ts';
import { PullThread } from '../../../../src/layers/pull/pull-thread.ts';
import { pullTarget } from '../../../support/pulled-layer.ts';
import { buildTar, inPieces } from '../../../support/tar-builder.ts';

async function setUp(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-pull-thread-'));
  const thread = new PullThread(128);
  t.after(async () => {
    await thread.close();
    await rm(directory, { recursive: true });
  });
  /** Pulls a layer of which `served` comes. */
  const run = async (layer: Buffer, served = inPieces(layer, 100_000), signal = new AbortController().signal) =>
    thread.run(await pullTarget(directory, layer), served, signal);
  return { thread, run };
}

const layer = (bytes: number): Buffer => gzipSync(buildTar([{ name: 'file', data: randomBytes(bytes) }]), { level: 1 });

test('PullThread makes layers one after another, longer than its memory too', async (t) => {
  const { run } = await setUp(t);
  for (const bytes of [0, 100, 40 << 20, 5000]) {
    const content = layer(bytes);
    const { entries, compression, table } = await run(content);
    assert.deepEqual([entries, compression], [1, 'gzip']);
    assert.equal(
      table.size.reduce((sum, size) => sum + size, 0),
      bytes,
    );
  }
});

test('PullThread rejects with the error of a blob that breaks off or is another one, and goes on', async (t) => {
  const { run } = await setUp(t);
  const content = layer(5 << 20);
  async function* broken(): AsyncGenerator<Buffer> {
    yield content.subarray(0, 1 << 20);
    throw new Error('The line is dead');
  }
  await assert.rejects(run(content, broken()), /The line is dead/);
  await assert.rejects(run(content, inPieces(layer(5 << 20), 1 << 20)), { code: 'DataLoss' });
  assert.equal((await run(content)).entries, 1);
});

test('PullThread ends a job with the reason of its signal', async (t) => {
  const { run } = await setUp(t);
  const content = layer(5 << 20);
  const abort = new AbortController();
  async function* stopped(): AsyncGenerator<Buffer> {
    yield content.subarray(0, 2 << 20);
    abort.abort(new LazypullError('Canceled', 'No call waits'));
    yield content.subarray(2 << 20);
  }
  await assert.rejects(run(content, stopped(), abort.signal), { code: 'Canceled', message: 'No call waits' });
  await assert.rejects(run(content, undefined, abort.signal), { message: 'No call waits' });
});

test('PullThread.close ends the threads, and the next job starts them again', async (t) => {
  const { thread, run } = await setUp(t);
  await run(layer(1000));
  await thread.close();
  assert.equal((await run(layer(1000))).entries, 1);
});

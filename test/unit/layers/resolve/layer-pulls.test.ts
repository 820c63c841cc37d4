import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { residency } from '../../../../src/chunks/residency.ts';
import { chunkTable } from '../../../../src/chunks/chunk-table.ts';
import { LazypullError } from '../../../../src/errors.ts';
import type { MadeIndex } from '../../../../src/layers/pull/made-index.ts';
import type { PulledLayer, PullRequest } from '../../../../src/layers/pull/puller.ts';
import { LayerPulls } from '../../../../src/layers/resolve/layer-pulls.ts';
import { layerMetrics } from '../../../../src/layers/metrics.ts';
import { LayerDirectory } from '../../../../src/layers/store/layer-directory.ts';
import { UnkeptIndex } from '../../../../src/layers/store/unkept-index.ts';
import { silentLog } from '../../../../src/log.ts';
import { fakeImage } from '../../../support/fake-image.ts';
import { FakeBlob } from '../../../support/chunked-blob.ts';
import { until } from '../../../support/until.ts';

const reference = 'registry.example/app:1';
const image = fakeImage(reference, () => new FakeBlob(Buffer.alloc(0)));
const digests = Array.from('abcdefgh', (letter) => `sha256:${letter.repeat(64)}`);
const forever = new AbortController().signal;

const made: MadeIndex = { digest: digests[0]!, bytes: 1, codecData: new SharedArrayBuffer(0) };

/** Pulls that end when the test says so. */
function pulls(t: TestContext, patienceMs = 60_000) {
  const root = mkdtempSync(join(tmpdir(), 'lazypull-pulls-'));
  const begun = new Map<
    string,
    PullRequest & { finish(index?: MadeIndex, takesRanges?: boolean): void; fail(error: Error): void }
  >();
  const kept: string[] = [];
  const silent: string[] = [];
  const layers = new LayerPulls({
    puller: {
      pull(request) {
        const { promise, resolve, reject } = Promise.withResolvers<PulledLayer>();
        writeFileSync(request.diskPath, request.digest);
        request.signal.addEventListener('abort', () => reject(request.signal.reason as Error));
        const finish = (index: MadeIndex = made, takesRanges = true): void => {
          const sums = { metadata: '', table: '', hints: '', stacking: '' };
          resolve({ table: chunkTable(undefined, 2), index, sums, takesRanges } as PulledLayer);
        };
        begun.set(request.digest, { ...request, finish, fail: reject });
        return promise;
      },
    },
    silent: {
      check: () => undefined,
      answered: () => undefined,
      failed: (wanted) => silent.push(wanted.image.reference),
    },
    patienceMs,
    metrics: layerMetrics(),
    path: join(root, 'pulls'),
    keep: (digest) => Promise.resolve(kept.push(digest)),
    log: silentLog,
  });
  t.after(async () => {
    await layers.close();
    rmSync(root, { recursive: true });
  });
  const directory = (digest: string): LayerDirectory => {
    const path = join(root, digest.slice('sha256:'.length));
    mkdirSync(path);
    return new LayerDirectory(path);
  };
  const begin = (digest: string, bytes = 100 << 20): void => layers.begin(image, digest, bytes);
  return { layers, begun, kept, silent, begin, directory, pullsPath: join(root, 'pulls') };
}

test('LayerPulls moves what is pulled into the directory of the layer', async (t) => {
  const { layers, begun, directory } = pulls(t);
  const target = directory(digests[0]!);
  const taking = layers.take(image, digests[0]!, target, forever);
  await until(() => begun.size === 1);
  begun.get(digests[0]!)!.finish();
  await taking;
  assert.deepEqual(readdirSync(target.path).toSorted(), ['disk', 'index.json', 'layer.json']);
  assert.deepEqual(await new UnkeptIndex(target).read(), { digest: digests[0], bytes: 1 });
  assert.deepEqual(layers.status(), []);
});

test('LayerPulls writes down what is here of a layer that has no index, or is of a registry without parts: nothing of it can be fetched again', async (t) => {
  const { layers, begun, directory } = pulls(t);
  for (const [digest, index, takesRanges, isSettled] of [
    [digests[0]!, made, true, false],
    [digests[1]!, { problem: 'it is long' }, true, true],
    [digests[2]!, made, false, true],
  ] as const) {
    const target = directory(digest);
    const taking = layers.take(image, digest, target, forever);
    await until(() => begun.has(digest));
    begun.get(digest)!.finish(index, takesRanges);
    assert.equal((await taking).isSettled, isSettled);
    const { resident, isOfThisBoot } = await target.resident((await target.record())!);
    assert.deepEqual([...resident], Array(2).fill(isSettled ? residency.unverified : residency.absent));
    assert.equal(isOfThisBoot, isSettled);
  }
});

test('LayerPulls pulls the other layers of an image beside the one that is waited for, a few large ones at a time', async (t) => {
  const { layers, begun, begin, directory } = pulls(t);
  layers.attend(reference);
  for (const digest of digests) begin(digest);
  await until(() => begun.size === 4);
  const taking = layers.take(image, digests[7]!, directory(digests[7]!), forever);
  await until(() => begun.has(digests[7]!));
  begun.get(digests[7]!)!.finish();
  await taking;
  assert.equal(begun.size, 5, 'its turn was before that of the others');
  begun.get(digests[0]!)!.finish();
  begun.get(digests[1]!)!.finish();
  await until(() => begun.has(digests[4]!));
});

test('LayerPulls pulls many small layers at once', async (t) => {
  const { layers, begun, begin } = pulls(t);
  layers.attend(reference);
  for (const digest of digests) begin(digest, 1 << 20);
  await until(() => begun.size === digests.length);
});

test('LayerPulls gives up a pull, unless a call waits for it', async (t) => {
  const { layers, begun, begin, directory } = pulls(t);
  layers.attend(reference);
  begin(digests[0]!);
  await until(() => begun.size === 1);
  layers.giveUp(digests[0]!);
  assert.equal(layers.has(digests[0]!), false);
  const taking = layers.take(image, digests[1]!, directory(digests[1]!), forever);
  await until(() => begun.has(digests[1]!));
  layers.giveUp(digests[1]!);
  begun.get(digests[1]!)!.finish();
  assert.ok(await taking);
});

test('LayerPulls tells how far a pull is', async (t) => {
  const { layers, begun, begin } = pulls(t);
  layers.attend(reference);
  begin(digests[0]!);
  await until(() => begun.size === 1);
  begun.get(digests[0]!)!.onProgress(40, 100);
  const [status] = layers.status();
  assert.deepEqual(
    { ...status, startedMs: 0, bytesPerSecond: 0 },
    {
      digest: digests[0],
      reference,
      startedMs: 0,
      bytesPerSecond: 0,
      doneBytes: 40,
      totalBytes: 100,
      waiting: 0,
    },
  );
});

test('LayerPulls ends everything of an image when the call that waits is cancelled', async (t) => {
  const { layers, begun, begin, directory, pullsPath } = pulls(t);
  const leave = layers.attend(reference);
  begin(digests[1]!);
  const cancel = new AbortController();
  const taking = layers.take(image, digests[0]!, directory(digests[0]!), cancel.signal);
  await until(() => begun.size === 2);
  cancel.abort(new LazypullError('Canceled', 'gone'));
  await assert.rejects(taking, { code: 'Canceled', message: 'gone' });
  leave(false);
  assert.ok([...begun.values()].every(({ signal }) => signal.aborted));
  await until(() => !existsSync(pullsPath) || readdirSync(pullsPath).length === 0);
});

test('LayerPulls goes on with the other layers of an image while another client waits for one of it', async (t) => {
  const { layers, begun, begin } = pulls(t);
  const leave = layers.attend(reference);
  layers.attend(reference);
  begin(digests[0]!);
  await until(() => begun.size === 1);
  leave(false);
  assert.ok(!begun.get(digests[0]!)!.signal.aborted);
});

test('LayerPulls does not take back a layer that is whole when nobody asks for it', async (t) => {
  const { layers, begun, begin, kept } = pulls(t);
  const leave = layers.attend(reference);
  begin(digests[0]!);
  await until(() => begun.size === 1);
  begun.get(digests[0]!)!.onProgress(100, 100);
  begun.get(digests[0]!)!.finish();
  leave(false);
  await until(() => kept.length === 1);
  assert.deepEqual(kept, [digests[0]]);
});

test('LayerPulls says why a pull failed, and begins again when it is asked for again', async (t) => {
  const { layers, begun, directory } = pulls(t);
  const target = directory(digests[0]!);
  const failing = layers.take(image, digests[0]!, target, forever);
  await until(() => begun.size === 1);
  begun.get(digests[0]!)!.fail(new LazypullError('DataLoss', 'another digest'));
  await assert.rejects(failing, { code: 'DataLoss', message: 'another digest' });
  begun.clear();
  const taking = layers.take(image, digests[0]!, target, forever);
  await until(() => begun.size === 1);
  begun.get(digests[0]!)!.finish();
  await taking;
});

test('LayerPulls begins again with a layer that its registry did not give, and not with one that is wrong', async (t) => {
  const { layers, begun, begin, directory } = pulls(t);
  layers.attend(reference);
  begin(digests[0]!);
  begin(digests[1]!);
  await until(() => begun.size === 2);
  begun.get(digests[0]!)!.fail(new LazypullError('Unavailable', '503'));
  begun.get(digests[1]!)!.fail(new LazypullError('DataLoss', 'another digest'));
  begun.clear();
  await until(() => !layers.has(digests[0]!));
  const taking = layers.take(image, digests[0]!, directory(digests[0]!), forever);
  await until(() => begun.size === 1);
  begun.get(digests[0]!)!.finish();
  await taking;
  await assert.rejects(layers.take(image, digests[1]!, directory(digests[1]!), forever), { code: 'DataLoss' });
});

test('LayerPulls waits for its turn longer than for the first byte', async (t) => {
  const { layers, begun, directory } = pulls(t, 50);
  const taking = layers.take(image, digests[0]!, directory(digests[0]!), forever);
  await until(() => begun.size === 1);
  await begun.get(digests[0]!)!.blob.tail(1, undefined, () => undefined);
  await delay(100);
  begun.get(digests[0]!)!.finish();
  await taking;
});

test('LayerPulls does not wait for a registry that sends nothing', async (t) => {
  const { layers, silent, directory } = pulls(t, 20);
  const code = { code: 'DeadlineExceeded' };
  await assert.rejects(layers.take(image, digests[0]!, directory(digests[0]!), forever), code);
  assert.deepEqual(silent, [reference]);
});

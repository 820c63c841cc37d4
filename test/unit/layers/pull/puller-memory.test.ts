import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { LayerPuller } from '../../../../src/layers/pull/puller.ts';
import { silentLog } from '../../../../src/log.ts';
import { MemoryBlob } from '../../../support/memory-blob.ts';
import { pullTarget } from '../../../support/pulled-layer.ts';
import { settledBuffers } from '../../../support/settled-buffers.ts';
import { buildTar } from '../../../support/tar-builder.ts';
import { until } from '../../../support/until.ts';

// As with `--expose-gc`, which the daemon runs with.
setFlagsFromString('--expose-gc');
setFlagsFromString('--memory-reducer-gc-count=0'); // V8 would collect by itself after 8 s
Object.assign(globalThis, { gc: runInNewContext('gc') as unknown });

const limits = {
  threads: 2,
  littleThreads: 2,
  heapMb: 128,
  connections: 1,
  requestBytes: 16 << 20,
  unsyncedBytes: 1 << 30,
};

test('LayerPuller gives back what it shares with its threads, soon after the last layer', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-puller-'));
  const puller = new LayerPuller({ limits, makeRoom: () => Promise.resolve(), log: silentLog });
  t.after(async () => {
    await puller[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });
  const blobs = [1, 2].map(() => new MemoryBlob(gzipSync(buildTar([{ name: 'file', data: randomBytes(3 << 20) }]))));
  const before = await settledBuffers();
  const pull = async (blob: MemoryBlob): Promise<void> => {
    const { unsyncedBytes: _, blobBytes: __, ...target } = await pullTarget(directory, blob.content);
    const { signal } = new AbortController();
    await puller.pull({ ...target, digest: blob.digest, blob, signal, onProgress: () => undefined });
  };
  await Promise.all(blobs.map(pull));
  assert.ok(process.memoryUsage().arrayBuffers - before > 8 << 20);
  // Each thread has 3 MiB for a later layer, of which nothing has been touched.
  const most = before + (7 << 20);
  await until(
    () => process.memoryUsage().arrayBuffers <= most,
    () => `${process.memoryUsage().arrayBuffers - before} bytes are left`,
    15_000,
  );
  assert.equal(blobs.length, 2, 'what is measured counts the blobs, which must not be collected before');
});

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { CacheAccess, PruneOptions } from '../../../src/layers/cache/cache-access.ts';
import { Refusal } from '../../../src/layers/resolve/refusal.ts';
import { silentLog } from '../../../src/log.ts';
import { serveSnapshots } from '../../../src/snapshots/server.ts';
import { openSnapshotter } from '../../../src/snapshots/snapshotter.ts';
import { CacheClient } from '../../../src/status/cache-client.ts';
import { cacheService } from '../../../src/status/cache-service.ts';
import { listenAt } from '../../../src/kernel/unix-socket.ts';

const layers = {
  restore: () => Promise.resolve(),
  mount: () => Promise.reject(new Error('no layers here')),
  resolve: () => new Refusal('annotations', 'InvalidArgument', 'no layers here'),
  refusalOf: () => undefined,
  checkStacking: () => Promise.resolve(),
  check: () => Promise.resolve(),
  usage: () => Promise.resolve({ inodes: 0, bytes: 0, mostBytes: 0 }),
  unmount: () => Promise.resolve(),
};
const layer = { digest: 'sha256:a', tocDigest: 'sha256:b', bytes: 5e9, lastUsedMs: 1_700_000_000_000, inUse: true };

async function start(t: TestContext, cache: CacheAccess) {
  const root = mkdtempSync(join(tmpdir(), 'lazypull-status-'));
  const snapshotter = await openSnapshotter({ root, layers, log: silentLog });
  const path = join(root, 's.sock');
  const server = await serveSnapshots(await listenAt(path), snapshotter, silentLog, undefined, [
    cacheService('/r', cache, silentLog),
  ]);
  t.after(async () => {
    await server.close(100);
    await snapshotter.close();
    rmSync(root, { recursive: true });
  });
  return path;
}

async function* items<T>(...values: T[]): AsyncGenerator<T> {
  yield* values;
}

test('CacheClient gets what the cache says', async (t) => {
  const asked: PruneOptions[] = [];
  const path = await start(t, {
    list: () => items({ ...layer, contentBytes: 7e9, presentBytes: 3 }, { ...layer, contentBytes: 0, presentBytes: 0 }),
    prune: (options) => {
      asked.push(options);
      return items(layer);
    },
    verify: () => items({ layer, found: { parts: 9, damaged: 1 } }, { layer, found: undefined }),
  });
  using client = new CacheClient('/r', path);
  const listed = await Array.fromAsync(client.list());
  assert.deepEqual(listed[0], { ...layer, contentBytes: 7e9, presentBytes: 3 });
  assert.equal(listed.length, 2);
  assert.deepEqual(await Array.fromAsync(client.prune({ unusedMs: 5, keepBytes: 6e10 })), [layer]);
  assert.deepEqual(asked, [{ unusedMs: 5, keepBytes: 6e10 }]);
  assert.deepEqual(await Array.fromAsync(client.verify()), [
    { layer, found: { parts: 9, damaged: 1 } },
    { layer, found: undefined },
  ]);
});

test('cacheService refuses a client that means another root', async (t) => {
  const untouched = () => assert.fail('it was asked');
  const path = await start(t, { list: untouched, prune: untouched, verify: untouched });
  using client = new CacheClient('/other', path);
  const refused = { code: 'FailedPrecondition', message: /keeps its layers in "\/r", not in "\/other"$/ };
  await assert.rejects(Array.fromAsync(client.prune({ unusedMs: 0, keepBytes: 0 })), refused);
  await assert.rejects(Array.fromAsync(client.verify()), refused);
  await assert.rejects(Array.fromAsync(client.list()), refused);
});

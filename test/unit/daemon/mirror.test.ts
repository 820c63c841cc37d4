import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { DiskBudget } from '../../../src/layers/cache/disk-budget.ts';
import { DaemonMirror, removeMirror } from '../../../src/daemon/mirror.ts';
import { silentLog } from '../../../src/log.ts';
import { mirrorAddressOf } from '../../../src/mirror/address.ts';
import { mirrorMetrics } from '../../../src/mirror/metrics.ts';
import { RegistryClient } from '../../../src/registry/client.ts';

async function setUp(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-mirror-'));
  t.after(() => rm(root, { recursive: true }));
  const open = (port = 0) =>
    DaemonMirror.open(root, { host: '127.0.0.1', port }, new DiskBudget(), mirrorMetrics(), silentLog);
  return { root, open, registry: new RegistryClient({ environment: {} }) };
}

test('DaemonMirror at any free port takes the same one in the next life, if it is free', async (t) => {
  const { root, open, registry } = await setUp(t);
  const first = await open();
  assert.equal(await first.status(), undefined);
  await first.serve(registry);
  const address = await mirrorAddressOf(root);
  assert.match(address!, /^127\.0\.0\.1:\d+$/);
  assert.deepEqual(await first.status(), { address, blobs: 0, bytes: 0 });
  await first[Symbol.asyncDispose]();
  {
    await using second = await open();
    await second.serve(registry);
    assert.equal(await mirrorAddressOf(root), address);
  }
  const taker = createServer().listen(Number(address!.split(':')[1]), '127.0.0.1');
  await once(taker, 'listening');
  t.after(() => taker.close());
  await using third = await open();
  await third.serve(registry);
  assert.notEqual(await mirrorAddressOf(root), address);
});

test('DaemonMirror does not start at a taken port', async (t) => {
  const { root, open, registry } = await setUp(t);
  await using first = await open();
  await first.serve(registry);
  const port = Number((await mirrorAddressOf(root))!.split(':')[1]);
  await using second = await open(port);
  await assert.rejects(second.serve(registry), { code: 'FailedPrecondition' });
});

test('DaemonMirror.isAt knows the URLs that lead to it', async (t) => {
  const { root, open, registry } = await setUp(t);
  await using mirror = await open();
  await mirror.serve(registry);
  const port = (await mirrorAddressOf(root))!.split(':')[1];
  for (const host of ['127.0.0.1', 'localhost', '[::1]'])
    assert.ok(mirror.isAt(new URL(`http://${host}:${port}`)), host);
  for (const url of [`http://10.0.0.1:${port}`, 'http://127.0.0.1', 'https://localhost', `http://m.example:${port}`]) {
    assert.ok(!mirror.isAt(new URL(url)), url);
  }
});

test('removeMirror leaves nothing of a mirror', async (t) => {
  const { root, open, registry } = await setUp(t);
  const mirror = await open();
  await mirror.serve(registry);
  await mirror[Symbol.asyncDispose]();
  assert.deepEqual((await readdir(root)).toSorted(), ['blobs', 'mirror-address']);
  await removeMirror(root);
  assert.deepEqual(await readdir(root), []);
  assert.equal(await mirrorAddressOf(root), undefined);
});

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { listenAt } from '../../../src/kernel/unix-socket.ts';
import { Refusal } from '../../../src/layers/resolve/refusal.ts';
import { silentLog } from '../../../src/log.ts';
import { PrepareHistory } from '../../../src/snapshots/prepare-history.ts';
import { serveSnapshots } from '../../../src/snapshots/server.ts';
import { openSnapshotter } from '../../../src/snapshots/snapshotter.ts';
import { StatusClient } from '../../../src/status/status-client.ts';
import { statusService } from '../../../src/status/status-service.ts';
import { aUse } from '../../support/layer-use.ts';
import type { DaemonStatus, StatusSource } from '../../../src/status/status.ts';

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
const labels = (digest: string) => ({
  'containerd.io/snapshot/remote/stargz.reference': 'registry/image:tag',
  'containerd.io/snapshot/remote/stargz.digest': digest,
});

/** A server with `source`, or one that has no status service, and a client of it. */
async function start(t: TestContext, source?: StatusSource): Promise<StatusClient> {
  const root = mkdtempSync(join(tmpdir(), 'lazypull-status-'));
  const snapshotter = await openSnapshotter({ root, layers, log: silentLog });
  const path = join(root, 's.sock');
  const more = source === undefined ? [] : [statusService(source, silentLog)];
  const server = await serveSnapshots(await listenAt(path), snapshotter, silentLog, undefined, more);
  const client = new StatusClient(path);
  t.after(async () => {
    client[Symbol.dispose]();
    await server.close(100);
    await snapshotter.close();
    rmSync(root, { recursive: true });
  });
  return client;
}

test('StatusClient gets what the daemon says', async (t) => {
  let status: DaemonStatus = {
    version: '1.2.3',
    startedMs: 1_700_000_000_000,
    layers: [
      {
        digest: 'sha256:a',
        references: ['r/i:1', 'r/i:2'],
        mountedMs: 1_700_000_000_001,
        mounts: 2,
        blobBytes: 2 ** 40,
        contentBytes: 2 ** 41,
        presentBytes: 5,
        fetchedBytes: 6,
        bytesPerSecond: 7.5,
        waiting: 8,
        errors: 9,
        pulling: false,
        clients: ['bk', 'default'],
      },
    ],
    clients: [
      { name: 'default', address: '/a', process: { pid: 1, command: 'x' }, refused: { pid: 2, command: 'y' } },
      { name: 'bk', address: '/b', process: undefined, refused: undefined },
    ],
    cache: { bytes: 2 ** 42, layers: 3 },
    mirror: { address: '127.0.0.1:1', blobs: 4, bytes: 2 ** 43 },
    problems: ['Something is wrong'],
  };
  const outcomes = new PrepareHistory();
  outcomes.note(labels('sha256:lazy'));
  outcomes.note(labels('sha256:plain'), { reason: 'no_toc', message: 'The layer is plain' });
  const uses = { sinceMs: 1_700_000_000_000, uses: [aUse(), aUse({ endedMs: 1_700_000_009_000, strip: undefined })] };
  const client = await start(t, {
    status: () => Promise.resolve(status),
    outcomes: (digests) => outcomes.list(digests),
    uses: () => Promise.resolve(uses),
  });
  assert.deepEqual(await client.status(), status);
  status = { ...status, mirror: undefined };
  assert.deepEqual(await client.status(), status);
  assert.deepEqual(await client.outcomes(), outcomes.list());
  const [plain, ...others] = await client.outcomes(['sha256:plain', 'sha256:absent']);
  assert.deepEqual(
    [plain?.reason, plain?.message, plain?.reference],
    ['no_toc', 'The layer is plain', 'registry/image:tag'],
  );
  assert.deepEqual(others, []);
  assert.deepEqual(await client.uses(), uses);
});

test('StatusClient says what to do if no daemon, or another program, answers', async (t) => {
  using nobody = new StatusClient('/nonexistent/lp.sock');
  await assert.rejects(nobody.status(), /Cannot reach the daemon at "\/nonexistent\/lp\.sock": ENOENT$/);
  const client = await start(t);
  await assert.rejects(client.status(), /it is not lazypull, or an older version/);
});

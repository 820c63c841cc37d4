import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';

const layerCount = 40;
const lookMs = 10_000;

/** A second; the housekeeping of a daemon that has nothing to do takes a few. */
const maxWakeups = 10;

/** How long the daemon may take to find its rest after what happened. */
const maxSettleMs = 90_000;

async function wakeups(pid: number): Promise<number> {
  let sum = 0;
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const status = await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8').catch(() => '');
    sum += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0);
  }
  return sum;
}

test('A daemon that has nothing to do sleeps, whatever it measures and however many layers it has', async (t) => {
  await using lab = await LayerLab.open('metrics_address = "127.0.0.1:0"\n[mirror]\naddress = "127.0.0.1:0"\n');
  const { daemon } = lab;
  assert.ok(daemon.log().some(({ msg }) => msg === 'serving a mirror of all registries'));
  const mounted: string[] = [];
  for (let i = 0; i < layerCount; i++) {
    const content = randomBytes(5000);
    const blob = estargzBlob([
      { path: '.', type: 'dir', mode: 0o755 },
      { path: 'read', type: 'reg', mode: 0o644, content },
      { path: 'unread', type: 'reg', mode: 0o644, content: randomBytes(2 << 20) },
    ]);
    // One in four can never be completed, so that the background comes back to it.
    const { bytes, context } = blob;
    if (i % 4 === 0) bytes[context.tocOffset - 500]! ^= 1;
    const directory = await lab.mount(await lab.prepare([lab.layer({ bytes, context })]));
    assert.deepEqual(await readFile(join(directory, 'read')), content);
    mounted.push(directory);
  }
  let perSecond = Number.POSITIVE_INFINITY;
  for (const deadline = Date.now() + maxSettleMs; perSecond > maxWakeups && Date.now() < deadline; ) {
    const before = await wakeups(lab.pid);
    await sleep(lookMs);
    perSecond = ((await wakeups(lab.pid)) - before) / (lookMs / 1000);
    t.diagnostic(`${perSecond} wakeups a second`);
  }
  assert.ok(perSecond <= maxWakeups, `${perSecond} wakeups a second`);
  for (const directory of mounted) await lab.unmount(directory);
});

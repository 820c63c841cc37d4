import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { watchDelay } from '../../../src/daemon/event-loop-lag.ts';
import { daemonMetrics } from '../../../src/daemon/metrics.ts';
import { silentLog } from '../../../src/log.ts';

const { all, delay, snapshots, fuse, mirror } = daemonMetrics();

async function value(name: string): Promise<number> {
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await all.text())?.[1]);
}

/** Waits until the timer rests; a second is 100 of its ticks. */
async function resting(): Promise<number> {
  for (let before = -1; ; ) {
    const ticks = await value('lazypull_event_loop_delay_seconds_count');
    if (ticks === before) return ticks;
    before = ticks;
    await sleep(200);
  }
}

function block(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

test('watchDelay watches the event loop while there is work, and lets it sleep while there is none', {
  timeout: 30_000,
}, async () => {
  using _watch = watchDelay(silentLog, delay);
  const atStart = await resting();
  assert.ok(atStart > 0);
  for (const begin of [snapshots.begin, fuse.begin, mirror.begin]) {
    const before = await resting();
    begin();
    block(150);
    assert.ok((await resting()) > before, 'it is not watched');
  }
  assert.ok((await value('lazypull_event_loop_delay_max_seconds')) >= 0.13, 'the first thing after a rest is not seen');
});

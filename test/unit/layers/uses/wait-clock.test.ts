import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WaitClock } from '../../../../src/layers/uses/wait-clock.ts';

test('WaitClock counts the time in which several reads wait once', () => {
  const clock = new WaitClock();
  const now = performance.now();
  clock.begin(now - 3000);
  clock.begin(now - 2000);
  assert.equal(clock.waiting, 2);
  assert.ok(clock.waitedMs >= 3000 && clock.waitedMs < 4900);
  clock.end(now - 3000);
  clock.end(now - 2000);
  const { waitedMs } = clock;
  assert.ok(waitedMs >= 3000 && waitedMs < 4900);
  assert.ok(clock.longestMs >= 3000);
  assert.deepEqual([clock.waits, clock.waiting, clock.waitedMs], [2, 0, waitedMs]);
});

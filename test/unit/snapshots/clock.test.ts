import assert from 'node:assert/strict';
import { it } from 'node:test';
import { wallClockMicros } from '../../../src/snapshots/clock.ts';

it('agrees with the wall clock and is finer than a millisecond', () => {
  const seen = new Set<number>();
  for (let i = 0; i < 10_000; i++) {
    const before = Date.now();
    const now = wallClockMicros();
    assert.ok(now >= before * 1000 && now < (Date.now() + 1) * 1000, `${now} is not now (${before})`);
    seen.add(now);
  }
  assert.ok(seen.size > 100);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultCacheLimits, excessBytes, isFull } from '../../../../src/layers/cache/cache-limits.ts';

const limits = { max: { bytes: 1000 }, minFree: { bytes: 100 }, highWater: 0.9, lowWater: 0.7 };

test('excessBytes goes from above the high water down to the low water', () => {
  assert.equal(excessBytes(limits, { used: 900, free: 5000, total: 10_000 }), 0);
  assert.equal(excessBytes(limits, { used: 901, free: 5000, total: 10_000 }), 201);
  assert.ok(isFull(limits, { used: 901, free: 5000, total: 10_000 }));
});

test('excessBytes makes up for missing free space', () => {
  assert.equal(excessBytes(limits, { used: 500, free: 99, total: 10_000 }), 1);
  assert.equal(excessBytes(limits, { used: 950, free: 0, total: 10_000 }), 250);
  assert.equal(excessBytes(limits, { used: 500, free: 100, total: 10_000 }), 0);
});

test('excessBytes takes a limit of 0 as none', () => {
  assert.equal(excessBytes({ ...limits, max: { bytes: 0 } }, { used: 1e15, free: 5000, total: 10_000 }), 0);
});

test('defaultCacheLimits are half of the disk, or 10 GB', () => {
  assert.ok(!isFull(defaultCacheLimits, { used: 9e9, free: 1e9, total: 15e9 }));
  assert.ok(isFull(defaultCacheLimits, { used: 9.6e9, free: 1e9, total: 15e9 }));
  assert.ok(!isFull(defaultCacheLimits, { used: 470e9, free: 100e9, total: 1000e9 }));
  assert.ok(isFull(defaultCacheLimits, { used: 480e9, free: 100e9, total: 1000e9 }));
  assert.ok(isFull(defaultCacheLimits, { used: 1e9, free: 19e9, total: 1000e9 }));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultCacheLimits, excessBytes, isFull } from '../../../../src/layers/cache/cache-limits.ts';

const limits = { max: { bytes: 1000 }, minFree: { bytes: 100 }, highWater: 0.9, lowWater: 0.7 };

test('What is above the high water is removed down to the low water', () => {
  assert.equal(excessBytes(limits, { used: 900, free: 5000, total: 10_000 }), 0);
  assert.equal(excessBytes(limits, { used: 901, free: 5000, total: 10_000 }), 201);
  assert.ok(isFull(limits, { used: 901, free: 5000, total: 10_000 }));
});

test('What is missing of the free space is removed', () => {
  assert.equal(excessBytes(limits, { used: 500, free: 99, total: 10_000 }), 1);
  assert.equal(excessBytes(limits, { used: 950, free: 0, total: 10_000 }), 250);
  assert.equal(excessBytes(limits, { used: 500, free: 100, total: 10_000 }), 0);
});

test('A limit of 0 is none', () => {
  assert.equal(excessBytes({ ...limits, max: { bytes: 0 } }, { used: 1e15, free: 5000, total: 10_000 }), 0);
});

test('By default layers take half of the disk, or 10 GB', () => {
  assert.ok(!isFull(defaultCacheLimits, { used: 9e9, free: 1e9, total: 15e9 }));
  assert.ok(isFull(defaultCacheLimits, { used: 9.6e9, free: 1e9, total: 15e9 }));
  assert.ok(!isFull(defaultCacheLimits, { used: 470e9, free: 100e9, total: 1000e9 }));
  assert.ok(isFull(defaultCacheLimits, { used: 480e9, free: 100e9, total: 1000e9 }));
  assert.ok(isFull(defaultCacheLimits, { used: 1e9, free: 19e9, total: 1000e9 }));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultCacheLimits, excessBytes, excessFiles, isFull } from '../../../../src/layers/cache/cache-limits.ts';

const limits = { max: { bytes: 1000 }, minFree: { bytes: 100 }, highWater: 0.9, lowWater: 0.7 };

const space = (used: number, free: number, total: number, freeFiles = Infinity, totalFiles = Infinity) => ({
  used,
  free,
  total,
  freeFiles,
  totalFiles,
});

test('excessBytes goes from above the high water down to the low water', () => {
  assert.equal(excessBytes(limits, space(900, 5000, 10_000)), 0);
  assert.equal(excessBytes(limits, space(901, 5000, 10_000)), 201);
  assert.ok(isFull(limits, space(901, 5000, 10_000)));
});

test('excessBytes makes up for missing free space', () => {
  assert.equal(excessBytes(limits, space(500, 99, 10_000)), 1);
  assert.equal(excessBytes(limits, space(950, 0, 10_000)), 250);
  assert.equal(excessBytes(limits, space(500, 100, 10_000)), 0);
});

test('excessBytes takes a limit of 0 as none', () => {
  assert.equal(excessBytes({ ...limits, max: { bytes: 0 } }, space(1e15, 5000, 10_000)), 0);
});

test('defaultCacheLimits are half of the disk, or 10 GB', () => {
  assert.ok(!isFull(defaultCacheLimits, space(9e9, 1e9, 15e9)));
  assert.ok(isFull(defaultCacheLimits, space(9.6e9, 1e9, 15e9)));
  assert.ok(!isFull(defaultCacheLimits, space(470e9, 100e9, 1000e9)));
  assert.ok(isFull(defaultCacheLimits, space(480e9, 100e9, 1000e9)));
  assert.ok(isFull(defaultCacheLimits, space(1e9, 19e9, 1000e9)));
});

test('excessFiles leaves room for some more files', () => {
  assert.equal(excessFiles(space(0, 5000, 10_000)), 0);
  assert.equal(excessFiles(space(0, 5000, 10_000, 1000, 1e6)), 0);
  assert.equal(excessFiles(space(0, 5000, 10_000, 600, 1e6)), 400);
  assert.equal(excessFiles(space(0, 5000, 10_000, 2, 100)), 8);
  assert.ok(isFull(limits, space(0, 5000, 10_000, 2, 100)));
  assert.ok(!isFull(limits, space(0, 5000, 10_000, 10, 100)));
});

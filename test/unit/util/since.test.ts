import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sinceMs } from '../../../src/util/since.ts';

test('sinceMs is 0 for a time to come', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1000 });
  assert.deepEqual([0, 999, 1000, 5000].map(sinceMs), [1000, 1, 0, 0]);
});

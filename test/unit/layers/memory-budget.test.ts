import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ampleMemory, memoryBudget } from '../../../src/layers/memory-budget.ts';

test('Where there is little memory, all that takes some is smaller', () => {
  assert.equal(memoryBudget(undefined), ampleMemory);
  assert.equal(memoryBudget(512 << 20), ampleMemory);
  const little = memoryBudget((512 << 20) - 1);
  for (const key of ['threads', 'planHeapMb', 'queuedBytes', 'unsyncedBytes', 'tableBytes', 'trimBytes'] as const) {
    assert.ok(little[key] > 0 && little[key] < ampleMemory[key], key);
  }
});

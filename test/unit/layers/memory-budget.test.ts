import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ampleMemory, memoryBudget } from '../../../src/layers/memory-budget.ts';

test('memoryBudget makes everything smaller if there is little memory', () => {
  assert.equal(memoryBudget(undefined), ampleMemory);
  assert.equal(memoryBudget(512 << 20), ampleMemory);
  const little = memoryBudget((512 << 20) - 1);
  for (const [key, ample] of Object.entries(ampleMemory)) {
    const value = Number(little[key as keyof typeof little]);
    assert.ok(value < Number(ample) && (value > 0 || typeof ample === 'boolean'), key);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { warmUpPlanning, warmUpUnpacking } from '../../../../src/layers/workers/warm-up.ts';

test('warmUpPlanning and warmUpUnpacking succeed, and stop if they are told to', async () => {
  await warmUpPlanning(() => true);
  await warmUpUnpacking(() => true);
  for (const warmUp of [warmUpPlanning, warmUpUnpacking]) {
    let asked = 0;
    await warmUp(() => ++asked < 3);
    assert.equal(asked, 3);
  }
});

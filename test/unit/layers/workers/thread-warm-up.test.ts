import assert from 'node:assert/strict';
import { test } from 'node:test';
import { erofs } from '../../../../src/fronts/erofs/front.ts';
import { warmUpPlanning, warmUpUnpacking } from '../../../../src/layers/workers/thread-warm-up.ts';

test('warmUpPlanning and warmUpUnpacking succeed, and stop if they are told to', async () => {
  const plan = (goesOn: () => boolean) => warmUpPlanning(erofs, goesOn);
  await plan(() => true);
  await warmUpUnpacking(() => true);
  for (const warmUp of [plan, warmUpUnpacking]) {
    let asked = 0;
    await warmUp(() => ++asked < 3);
    assert.equal(asked, 3);
  }
});

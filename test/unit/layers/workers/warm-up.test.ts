import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rehearsePlanning, rehearseUnpacking } from '../../../../src/layers/workers/warm-up.ts';

test('Both rehearsals do what they rehearse without an error, and stop when they are told to', async () => {
  await rehearsePlanning(() => true);
  await rehearseUnpacking(() => true);
  for (const rehearse of [rehearsePlanning, rehearseUnpacking]) {
    let asked = 0;
    await rehearse(() => ++asked < 3);
    assert.equal(asked, 3);
  }
});

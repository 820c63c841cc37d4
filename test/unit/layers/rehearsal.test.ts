import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rehearsePlanning, rehearseUnpacking } from '../../../src/layers/rehearsal.ts';

test('Both rehearsals do what they rehearse without an error, and planning stops when it is told to', async () => {
  let asked = 0;
  await rehearsePlanning(() => ++asked < 3);
  assert.equal(asked, 3);
  await rehearseUnpacking();
});

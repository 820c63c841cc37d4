import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maxMs, maxSilenceMs, Patience } from '../../../../src/layers/resolve/patience.ts';

test('Patience ends after a silence, and starts again when something is heard', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  using patience = new Patience();
  t.mock.timers.tick(maxSilenceMs - 1);
  patience.heard();
  t.mock.timers.tick(maxSilenceMs - 1);
  assert.ok(!patience.signal.aborted);
  t.mock.timers.tick(1);
  assert.ok(patience.signal.aborted);
});

test('Patience ends in any case, also with a registry that drips', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  using patience = new Patience();
  for (let ms = 0; ms < maxMs; ms += 1_000) {
    assert.ok(!patience.signal.aborted);
    patience.heard();
    t.mock.timers.tick(1_000);
  }
  assert.ok(patience.signal.aborted);
});

test('Patience that is let go does not end any more', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const patience = new Patience();
  patience[Symbol.dispose]();
  t.mock.timers.tick(maxMs);
  assert.ok(!patience.signal.aborted);
});

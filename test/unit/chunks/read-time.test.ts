import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTimeCode, readTimeMs } from '../../../src/chunks/read-time.ts';

test('readTimeCode gives a byte that is not 0, and readTimeMs the time within 7 % and 50 ms', () => {
  for (const ms of [0, 1, 49, 50, 999, 1000, 30_000, 3_600_000, 86_400_000]) {
    const code = readTimeCode(ms);
    assert.ok(Number.isInteger(code) && code >= 1 && code <= 255);
    const back = readTimeMs(code);
    assert.ok(back <= ms + 1 && ms - back <= 0.072 * ms + 50, `${ms} became ${back}`);
  }
});

test('readTimeCode keeps its range if the clock was set back, and at the end of its scale', () => {
  assert.equal(readTimeCode(-5), 1);
  assert.equal(readTimeCode(1e15), 255);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { painter } from '../../../src/util/colour.ts';

test('painter colours terminals that have colours, unless NO_COLOR is set, and pipes if FORCE_COLOR is', () => {
  const terminal = { isTTY: true };
  const pipe = { isTTY: false };
  const rows: readonly (readonly [{ isTTY: boolean }, NodeJS.ProcessEnv, boolean])[] = [
    [terminal, {}, true],
    [terminal, { TERM: 'xterm' }, true],
    [terminal, { TERM: 'dumb' }, false],
    [terminal, { NO_COLOR: '1' }, false],
    [terminal, { NO_COLOR: '' }, true],
    [terminal, { FORCE_COLOR: '0' }, false],
    [pipe, {}, false],
    [pipe, { FORCE_COLOR: '1' }, true],
    [pipe, { FORCE_COLOR: '' }, false],
    [pipe, { FORCE_COLOR: '1', NO_COLOR: '1' }, false],
  ];
  for (const [stream, env, hasColours] of rows) {
    const text = painter(stream, env)('good', 'ok');
    assert.equal(text, hasColours ? '\x1b[32mok\x1b[39m' : 'ok', JSON.stringify([stream, env]));
  }
});

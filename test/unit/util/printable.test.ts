import assert from 'node:assert/strict';
import { test } from 'node:test';
import { painter, type Tone } from '../../../src/util/colour.ts';
import { jsonLine, printable, printableLines, terminalText } from '../../../src/util/printable.ts';

/**
 * Commands of terminals in 7 and 8 bits, a turn of the direction, a mark that hides, a tag beyond 16 bits, ends of
 * lines.
 */
const hostile = 'a\x1b[31m\x07\x7f\x80\x9b2J\x9d0;t\x9c\u202e\u2066\u061c\u200b\ufeff\u{e0041}\u2028\u2029\r\tz';

test('printable leaves nothing that commands a terminal', () => {
  assert.equal(printable(hostile), 'a?[31m????2J?0;t???????????z');
  assert.equal(printable('a\nb'), 'a?b');
  assert.equal(printableLines('a\nb\x1b'), 'a\nb?');
  assert.equal(printable('Grüße, 世界 🙂'), 'Grüße, 世界 🙂');
});

test('jsonLine has the whole value, with everything escaped that commands a terminal', () => {
  const line = jsonLine({ [hostile]: hostile, plain: 'Grüße 🙂' });
  assert.doesNotMatch(line.slice(0, -1), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
  assert.deepEqual(JSON.parse(line), { [hostile]: hostile, plain: 'Grüße 🙂' });
  assert.match(line, /\\u009b2J.*\\udb40\\udc41.*🙂/);
  assert.equal(jsonLine([1]), '[1]\n');
});

test('terminalText leaves lines, tabs and the colours of painter, and nothing else that commands a terminal', () => {
  assert.equal(terminalText('a\n\tb'), 'a\n\tb');
  for (const command of ['\x1b[8m', '\x1b[0;31m', '\x1b[2J', '\x1b]0;title\x07', '\x9b31m', '\r', '\x7f', '\u202e']) {
    assert.equal(terminalText(command), printable(command));
  }
  const paint = painter({}, { FORCE_COLOR: '1' });
  for (const tone of ['good', 'bad', 'warning', 'quiet', 'strong'] satisfies Tone[]) {
    const text = paint(tone, 'text');
    assert.notEqual(text, 'text');
    assert.equal(terminalText(text), text);
  }
});

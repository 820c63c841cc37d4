import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { verifyText } from '../../../src/cli/cache.ts';
import { resultText } from '../../../src/cli/check.ts';
import { verdictText } from '../../../src/cli/why.ts';
import { type Paint, painter } from '../../../src/util/colour.ts';

const digest = `sha256:${'ab'.repeat(32)}`;
const [green, red] = ['\x1b[32m', '\x1b[31m'];
const paint = painter({ isTTY: true }, {});

/** An answer without colours, and with them the same in the colour that it is to have. */
function assertPainted(text: (paint?: Paint) => string, colour: string): void {
  assert.ok(text(paint).includes(colour), text(paint));
  assert.equal(stripVTControlCharacters(text(paint)), text());
  assert.equal(stripVTControlCharacters(text()), text());
}

test('paint colours what is right and lazy green on a terminal, what is wrong and not lazy red', () => {
  const finding = { name: 'x', text: 'y', advice: 'z' };
  assertPainted((to) => resultText({ ...finding, state: 'right' }, to), green);
  assertPainted((to) => resultText({ ...finding, state: 'wrong' }, to), red);
  const verdict = { reference: 'x', digest, bytes: 1, reason: undefined, message: '', advice: '', askedMs: undefined };
  assertPainted((to) => verdictText({ ...verdict, verdict: 'lazy' }, to), green);
  assertPainted((to) => verdictText({ ...verdict, verdict: 'refused', reason: 'other' }, to), red);
  const layer = { digest, tocDigest: digest, bytes: 1, lastUsedMs: 0, inUse: false };
  assertPainted((to) => verifyText({ layer, found: { parts: 2, damaged: 0 } }, to), green);
  assertPainted((to) => verifyText({ layer, found: { parts: 2, damaged: 1 } }, to), red);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bar, sizeText, table } from '../../../src/cli/value-text.ts';

test('sizeText chooses the unit', () => {
  const sizes = [0, 999, 1000, 999_949, 999_950, 1_500_000, 2 ** 50, 1e21];
  assert.deepEqual(sizes.map(sizeText), [
    '0 B',
    '999 B',
    '1.0 kB',
    '999.9 kB',
    '1.0 MB',
    '1.5 MB',
    '1.1 PB',
    '1000000.0 PB',
  ]);
});

test('bar is full only if all is there', () => {
  assert.deepEqual(
    [0, 0.5, 0.999, 1, 7, -1].map((part) => bar(part, 4)),
    ['[....]', '[##..]', '[###.]', '[####]', '[####]', '[....]'],
  );
});

test('table sets columns, and lets no cell command the terminal', () => {
  assert.equal(
    table([
      ['a', 'long', 'c'],
      ['wider', '\x1b[2J', ''],
    ]),
    'a      long  c\nwider  ?[2J\n',
  );
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  chopped,
  columnsOf,
  displayWidth,
  endOf,
  fitted,
  padEnd,
  textColumns,
  wrapped,
} from '../../../src/cli/screen.ts';

describe('the layout of text', () => {
  it('counts the columns that characters take, not their number', () => {
    const rows = {
      abc: 3,
      映像: 4,
      한국: 4,
      ｆｕ: 4,
      'e\u0301': 1,
      '🚀': 2,
      '\x1b[31mred\x1b[39m': 3,
      '': 0,
      𠮷: 2,
      é: 1,
    };
    for (const [text, width] of Object.entries(rows)) assert.equal(displayWidth(text), width, text);
    assert.equal(padEnd('映', 4), '映  ');
    assert.equal(padEnd('long', 2), 'long');
  });

  it('keeps the end of what is too long', () => {
    assert.equal(endOf('registry/app:1', 14), 'registry/app:1');
    assert.equal(endOf('registry/app:1', 6), '…app:1');
    assert.equal(endOf('映像映像', 6), '…映像');
    assert.equal(endOf('abc', 1), '…');
    assert.equal(endOf('abc', 0), '');
  });

  it('breaks lines at spaces, and those that have none where they end', () => {
    assert.equal(wrapped('one two  three\nfour', 8), 'one two\nthree\nfour');
    assert.equal(wrapped('one two three', 7, 2), 'one two\n  three');
    assert.equal(wrapped('a verylongword b', 4), 'a\nverylongword\nb');
    assert.equal(wrapped('', 4), '');
    assert.equal(wrapped('a ("b c\n d", e) f "g', 4), 'a\n("b c d",\ne) f\n"g', 'what is quoted is one word');
    assert.equal(fitted('  one two', 9), '  one two');
    assert.equal(fitted('  one two', 8), '  one\n  two');
    assert.equal(fitted('one  two'.repeat(99), undefined), 'one  two'.repeat(99));
    assert.equal(chopped('abcdef\nx\n映像', 3), 'abc\ndef\nx\n映\n像');
    assert.equal(chopped('abcdef', undefined), 'abcdef');
  });

  it('takes the columns of a terminal, else those of COLUMNS, else any number', () => {
    assert.equal(columnsOf({ isTTY: true, columns: 60 }, { COLUMNS: '99' }), 60);
    assert.equal(columnsOf({ isTTY: true, columns: 0 }, {}), 80);
    assert.equal(columnsOf({ isTTY: true, columns: 1 }, {}), 20);
    assert.equal(columnsOf({}, { COLUMNS: '99' }), 99);
    for (const COLUMNS of [undefined, '', '0', '-1', 'x', '999999'])
      assert.equal(columnsOf({}, { COLUMNS }), undefined);
    assert.equal(textColumns({ isTTY: true, columns: 200 }, {}), 80);
    assert.equal(textColumns({}, {}), 80);
  });
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { resultText } from '../../../src/cli/check.ts';

describe('resultText', () => {
  it('has a line for each of the text, behind the mark, and one for what mends it', () => {
    const finding = { name: 'config file', state: 'warning', text: 'one\ntwo', advice: 'mend it' } as const;
    assert.equal(resultText(finding), 'warn  config file: one\n      two\n      mend it\n');
    assert.equal(
      resultText({ ...finding, state: 'right', text: 'can be used', advice: '' }),
      'ok    config file: can be used\n',
    );
  });

  it('breaks its lines at spaces if a terminal would break them anywhere', () => {
    const finding = { name: 'x', state: 'wrong', text: 'aaaa bbbb  cccc\n  dddd eeee ffff', advice: 'gggg' } as const;
    const lines = ['WRONG x: aaaa', 'bbbb cccc', '  dddd', '  eeee', '  ffff', 'gggg'];
    assert.equal(resultText(finding, undefined, 16), `${lines.join('\n      ')}\n`);
    assert.equal(resultText(finding, undefined, 24), resultText(finding));
  });

  it('gives a terminal nothing to do', () => {
    const text = resultText({ name: 'x', state: 'wrong', text: 'a\x1b[2Jb\u009bc\td', advice: '' });
    assert.equal(text, 'WRONG x: a?[2Jb?c?d\n');
  });
});

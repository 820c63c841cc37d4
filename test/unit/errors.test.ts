import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { explain, hintOf, LazypullError } from '../../src/errors.ts';

describe('explain', () => {
  it('says what happened, why, and what to do', () => {
    const cause = new LazypullError('NotFound', 'it is not there', { hint: 'make it' });
    assert.equal(
      explain(new LazypullError('Unavailable', 'Cannot go on', { cause })),
      'Cannot go on: it is not there; make it',
    );
    assert.equal(explain(new LazypullError('Unavailable', 'Cannot go on', { hint: '' })), 'Cannot go on');
    assert.equal(explain(new Error('odd')), 'odd');
  });
});

describe('hintOf', () => {
  it('takes the outermost hint', () => {
    const cause = new LazypullError('NotFound', 'a', { hint: 'inner' });
    assert.equal(hintOf(new LazypullError('Unavailable', 'b', { cause, hint: 'outer' })), 'outer');
    assert.equal(hintOf(new Error('c', { cause })), 'inner');
    assert.equal(hintOf('text'), undefined);
  });
});

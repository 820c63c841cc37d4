import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { similarTo, typingErrors } from '../../../src/util/similar.ts';

describe('typingErrors', () => {
  it('counts letters that are added, left out, changed and swapped', () => {
    const cases = [
      ['', 'abc', 3],
      ['cache', 'cache', 0],
      ['cahce', 'cache', 1],
      ['cach', 'cache', 1],
      ['kitten', 'sitting', 3],
      ['ca', 'abc', 3],
    ] as const;
    for (const [a, b, errors] of cases) {
      assert.equal(typingErrors(a, b), errors, `${a} ${b}`);
      assert.equal(typingErrors(b, a), errors, `${b} ${a}`);
    }
  });
});

describe('similarTo', () => {
  it('gives the nearest, and none that is too far', () => {
    assert.equal(similarTo('min_fre', ['max_size', 'min_free']), 'min_free');
    assert.equal(similarTo('minFree', ['min_free']), 'min_free');
    assert.equal(similarTo('x', ['max_size']), undefined);
    assert.equal(similarTo('a'.repeat(1000), ['a'.repeat(999)]), undefined);
  });
});

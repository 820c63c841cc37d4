import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { jsonProblem } from '../../../src/util/json.ts';

describe('jsonProblem', () => {
  it('says where a text stops being JSON, without a word of it', () => {
    const cases = [
      ['{"auths": {\n "a": }', 'line 2, column 7 is wrong'],
      ['{\n  "auths": {\n    "r": {"auth": "c2VjcmV0"},\n  }\n}', 'line 4, column 3 is wrong'],
      ['{"a" 1}', 'line 1, column 6 is wrong'],
      ["{'a': 1}", 'line 1, column 2 is wrong'],
      ['x', 'line 1, column 1 is wrong'],
      ['{"a": "b\nc"}', 'line 1, column 9 is wrong'],
      ['{"a": 1} {', 'line 1, column 10 is wrong'],
      ['{"a": nulx}', 'line 1, column 10 is wrong'],
      [`{"a": "${'x'.repeat(5000)}",\n\n "b": 01}`, 'line 3, column 8 is wrong'],
      ['{\n"a": {', 'it ends too early, in line 2'],
      ['{"a": "b', 'it ends too early, in line 1'],
      ['{"a": tru', 'it ends too early, in line 1'],
      ['', 'it ends too early, in line 1'],
    ] as const;
    for (const [text, problem] of cases) assert.equal(jsonProblem(text), problem, text.slice(0, 40));
    assert.equal(jsonProblem('{"a": [1, 2]}\n'), undefined);
  });
});

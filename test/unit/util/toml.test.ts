import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lineOf, parseTomlText } from '../../../src/util/toml.ts';

const file = `# first
a = 1
"b c" = 2
d.e = 3 # d.f
[t]
  a = 1
[ t . "u.v" ]
a = """
a = 9
[x]
"""
x = { y = 1 }
[[l]]
a = 1
[[l]]
b = 1
[l.m]
c = 1
[[l.n]]
[[l.n]]
a = 1
`;

describe('lineOf', () => {
  it('finds keys, tables and elements of arrays', () => {
    const cases = [
      [['a'], 2],
      [['b c'], 3],
      [['d', 'e'], 4],
      [['t'], 5],
      [['t', 'a'], 6],
      [['t', 'u.v', 'a'], 8],
      [['t', 'u.v', 'x', 'y'], 12],
      [['l', 0, 'a'], 14],
      [['l', 1, 'b'], 16],
      [['l', 1, 'a'], 15],
      [['l', 1, 'm', 'c'], 18],
      [['l', 1, 'n', 1, 'a'], 21],
    ] as const;
    for (const [path, line] of cases) assert.equal(lineOf(file, path), line, path.join('.'));
  });

  it('finds nothing where nothing is', () => {
    assert.equal(lineOf(file, ['z']), undefined);
    assert.equal(lineOf('', ['a']), undefined);
  });
});

describe('parseTomlText', () => {
  it('says in one line what is wrong and where', () => {
    const message = (text: string) => {
      try {
        return JSON.stringify(parseTomlText(text));
      } catch (error) {
        return (error as Error).message;
      }
    };
    assert.match(message('a = 1\nb = \n'), /^.+ in line 2, column \d+: b =$/);
    assert.match(message(`a = ${'x'.repeat(1000)}`), /^[^\n]{1,200}$/);
    assert.equal(message('a = 1'), '{"a":1}');
  });
});

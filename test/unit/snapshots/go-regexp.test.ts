import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileGoRegExp } from '../../../src/snapshots/go-regexp.ts';
import { FilterBudget } from '../../../src/snapshots/filter-budget.ts';
import fc from '../../support/properties.ts';

const compile = (pattern: string) => compileGoRegExp(pattern, new FilterBudget());

test('compileGoRegExp matches what Go matches', () => {
  for (const [pattern, text, expected] of [
    ['', '', true],
    ['b', 'abc', true],
    ['^b', 'abc', false],
    ['a|^b', 'b', true],
    ['a$', 'a\n', false],
    ['(?m)a$', 'a\nb', true],
    ['(?m)^b', 'a\nb', true],
    ['a.c', 'a\nc', false],
    ['(?s)a.c', 'a\nc', true],
    ['(?s-s)a.c', 'a\nc', false],
    ['(?i:A)b', 'aB', false],
    ['(?i)ä', 'Ä', true],
    ['^(?:ab){2,3}$', 'ababab', true],
    ['^(?:ab){2,3}$', 'abababab', false],
    ['^a{,2}$', 'a{,2}', true],
    ['^a{2', 'a{2', true],
    ['^(|a)+$', 'aaa', true],
    ['^(a*)*$', 'aaa', true],
    ['^a*?$', 'aa', true],
    ['^\\Qa.b*\\E*$', 'a.b***', true],
    ['\\bbc\\b', 'a bc', true],
    ['\\bbc\\b', 'abc', false],
    ['b\\B', 'abc', true],
    ['^[]a-c-]+$', ']b-', true],
    ['^[^]a]$', ']', false],
    ['^[[:^digit:]x]$', '1', false],
    ['^[[:alpha:]_]+$', 'a_Z', true],
    ['^\\s$', '\v', false],
    ['^\\S$', '\v', true],
    ['^[\\W]$', 'ä', true],
    ['^\\pL\\p{Greek}\\P{Lu}\\p{^Lu}$', 'aαbb', true],
    ['^\\x41\\x{1d11e}\\101\\a$', 'A𝄞A\x07', true],
    ['^.$', '𝄞', true],
    ['^(?P<x>a)(?<y>b)$', 'ab', true],
  ] as const) {
    assert.equal(compile(pattern)?.test(text), expected, pattern);
  }
});

test('compileGoRegExp refuses what Go does not compile', () => {
  const wrong = ['(', ')', 'a)', '*', '(*)', '|*', 'a**', 'a*?+', 'a{2}{3}', 'a{1001}', 'a{3,2}', '[', '[]', '[b-a]'];
  const unknown = [
    '\\',
    '\\8',
    '\\1',
    '\\Z',
    '\\C',
    '\\y',
    '\\E',
    '[\\b]',
    '[[:x:]]',
    '\\p{No such}',
    '\\pX',
    '\\x{110000}',
  ];
  const groups = ['(?=a)', '(?<!a)', '(?x)', '(?P<>)', '(?i', '(?-)', `${'('.repeat(1500)}${')'.repeat(1500)}`];
  for (const pattern of [...wrong, ...unknown, ...groups])
    assert.equal(compile(pattern), undefined, pattern.slice(0, 50));
});

test('compileGoRegExp answers at once for an expression that would take years', () => {
  const text = `${'a'.repeat(30_000)}!`;
  for (const pattern of ['^(a+)+$', '^(a|a)*$', '^(a|aa)+$', '(a*)*b', '^(([a-z])+.)+[A-Z]([a-z])+$']) {
    assert.equal(compile(pattern)?.test(text), false, pattern);
  }
  assert.throws(() => compile('(.{0,30}){30}x')?.test(text), { code: 'ResourceExhausted' });
});

test('compileGoRegExp refuses an expression that would take much memory', () => {
  for (const pattern of ['((a{1000}){1000}){1000}', '(((){1000}){1000}){1000}']) {
    assert.equal(compile(pattern), undefined, 'as Go does');
  }
  for (const pattern of ['a'.repeat(20_000), `(?:${'a?'.repeat(40)}){1000}`]) {
    assert.throws(() => compile(pattern), { code: 'InvalidArgument' });
  }
});

test('FilterBudget ends a call whose filters have taken too long, and counts nested work once', () => {
  const budget = new FilterBudget();
  const expression = compileGoRegExp('^(a+)+$', budget);
  const burn = (micros: number) => {
    const since = process.threadCpuUsage();
    for (let used = 0; used < micros; ) {
      const { user, system } = process.threadCpuUsage(since);
      used = user + system;
    }
  };
  budget.spend(() => {
    budget.spend(() => burn(200_000));
    budget.spend(() => burn(200_000));
  });
  assert.equal(expression?.test('aaa'), true);
  budget.spend(() => {
    burn(200_000);
    assert.throws(() => expression?.test('aaa'), { code: 'ResourceExhausted' });
  });
  assert.throws(() => budget.spend(() => 1), { code: 'ResourceExhausted' });
});

test('compileGoRegExp matches like JavaScript if the two have no differences', () => {
  const letter = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\w', '\\d', '\\b', '^', '$');
  const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
    pattern: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      letter,
      fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => a + b),
      fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => `(?:${a}|${b})`),
      fc
        .tuple(tie('pattern'), fc.constantFrom('*', '+', '?', '{0}', '{2}', '{1,}', '{0,2}'))
        .map(([a, b]) => `(?:${a})${b}`),
    ),
  }));
  const texts = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '1', '-', '\n'), maxLength: 8 }), {
    minLength: 4,
  });
  fc.assert(
    fc.property(pattern, texts, (source, words) => {
      const expression = compile(source);
      const model = new RegExp(source, 'u');
      for (const word of words) assert.equal(expression?.test(word), model.test(word), JSON.stringify([source, word]));
    }),
    { numRuns: 1000 },
  );
});

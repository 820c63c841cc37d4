import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cleanPath } from '../../../src/formats/paths.ts';

test('cleanPath gives the path below the root', () => {
  const cases: Record<string, string> = {
    '': '',
    '.': '',
    './': '',
    '/': '',
    '//': '',
    '..': '',
    '../..': '',
    a: 'a',
    './a/': 'a',
    '/a/b': 'a/b',
    './/a//b//': 'a/b',
    'a/./b': 'a/b',
    'a/../b': 'b',
    'a/../../../b': 'b',
    '/../a': 'a',
    '.hidden/.x': '.hidden/.x',
    './.hidden': '.hidden',
    '...': '...',
    'a/..b': 'a/..b',
    'a/b..': 'a/b..',
    '\xff\xfe/\xe4': '\xff\xfe/\xe4',
  };
  for (const [path, clean] of Object.entries(cases)) assert.equal(cleanPath(path), clean, path);
});

test('cleanPath refuses NUL and what Linux has no room for', () => {
  assert.throws(() => cleanPath('a\0b'), { code: 'InvalidArgument' });
  assert.equal(cleanPath('n'.repeat(255)).length, 255);
  assert.throws(() => cleanPath('n'.repeat(256)), { code: 'ResourceExhausted' });
  assert.throws(() => cleanPath(`${'n'.repeat(256)}/a`), { code: 'ResourceExhausted' });
  assert.equal(cleanPath(`${'n/'.repeat(2047)}ab`).length, 4096);
  assert.throws(() => cleanPath(`${'n/'.repeat(2048)}a`), { code: 'ResourceExhausted' });
});

import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { commentProblems } from '../../../script/docs/comments.ts';

const long = 'x'.repeat(118);

test('commentProblems finds long lines and words to avoid in every kind of comment', () => {
  const source = [
    `// ${long}`,
    '/** It says who calls. */',
    '/**',
    ' * Also when nothing is there.',
    ' */',
    `const a = 1; // ${long}`,
    ['call();', '// somebody has it'].join(' '),
  ].join('\n');
  assert.deepEqual(commentProblems(source), [
    { line: 1, text: '121 columns' },
    { line: 6, text: '134 columns' },
    { line: 2, text: '"who"' },
    { line: 4, text: '"Also when"' },
    { line: 7, text: '"somebody"' },
  ]);
});

test('commentProblems leaves code and its texts alone', () => {
  const source = [`const who = '${long}';`, "const url = 'https://nobody.example/';", '// plain', ''].join('\n');
  assert.deepEqual(commentProblems(source), []);
});

test('commentProblems finds nothing in the sources', async () => {
  const root = join(import.meta.dirname, '../../..');
  const problems: string[] = [];
  for await (const name of glob('{src,bench,script,test}/**/*.ts', { cwd: root })) {
    if (name.startsWith('src/gen/')) continue;
    const source = await readFile(join(root, name), 'utf8');
    problems.push(...commentProblems(source).map(({ line, text }) => `${name}:${line}: ${text}`));
  }
  assert.deepEqual(problems, []);
});

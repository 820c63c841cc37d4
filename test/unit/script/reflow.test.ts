import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reflowed } from '../../../script/docs/reflow.ts';

const words = (count: number) => Array.from({ length: count }, (_, i) => `word${i % 10}`).join(' ');

test('reflowed breaks paragraphs and items of lists at 120 columns, and joins short lines', () => {
  const page = reflowed(`# Title\n\n${words(50)}\n\n- ${words(30)}\n  more\n  - inner\n\n1. one\n`);
  assert.ok(page.split('\n').every((line) => line.length <= 120));
  assert.match(page, /^# Title\n\nword0.*\nword0 .*\n\n- word0.*\n {2}word.* more\n {2}- inner\n\n1\. one\n$/s);
  assert.equal(reflowed('one\ntwo\n'), 'one two\n');
});

test('reflowed leaves code, tables, comments and pictures as they are', () => {
  const kept = `\`\`\`console\n# ${words(40)}\n  x\n\`\`\`\n\n| ${words(40)} |\n<!-- ${words(40)} -->\n![${words(40)}](x)\n`;
  assert.equal(reflowed(kept), kept);
  assert.equal(reflowed(reflowed(words(90))), reflowed(words(90)));
});

test('reflowed begins no line with what would be a list', () => {
  const page = reflowed(`${'x'.repeat(110)} step 12345 5. y\n`);
  assert.equal(page, `${'x'.repeat(110)} step\n12345 5. y\n`);
});

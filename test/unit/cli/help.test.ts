import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Command } from 'commander';
import { createProgram } from '../../../src/cli/program.ts';
import { displayWidth } from '../../../src/cli/layout.ts';
import { Verb } from '../../../src/cli/verb.ts';

let program: Verb;

before(async () => {
  program = await createProgram({ env: {}, name: 'lazypull', self: [] }, undefined);
});

/** All that --help prints. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  return text;
}

function all(command: Command): Command[] {
  return [command, ...command.commands.flatMap(all)];
}

describe('--help', () => {
  it('of every command has lines of 80 columns at most', () => {
    const commands = all(program);
    assert.ok(commands.length > 20);
    for (const command of commands) {
      for (const line of helpOf(command).split('\n')) {
        assert.ok(displayWidth(line) <= 80, `${command.name()}: ${line}`);
      }
    }
  });

  it('keeps every word, and examples can be copied', () => {
    const verb = new Verb('x').option('--a-very-long-option-indeed <with:value>', `what it is for ${'p'.repeat(60)}`);
    const words = Array.from({ length: 30 }, (_, i) => `--word-${i}`).join(' ');
    verb.explain('', ['x short # why', `x ${words}    # ${'because of that '.repeat(8)}`]);
    const help = helpOf(verb);
    assert.match(help, /^ {2}--a-very-long-option-indeed <with:value>\n {8}what it is for\n {8}p{60}$/m);
    assert.match(help, /^ {2}x short # why$/m);
    const lines = help.slice(help.indexOf('  # because')).split('\n');
    const command = lines.filter((line) => !line.startsWith('  #')).join('\n');
    assert.equal(command.replaceAll(/ \\\n +/g, ' ').trim(), `x ${words}`);
  });
});

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type Command, CommanderError } from 'commander';
import { withHelpFirst } from '../../../src/cli/help.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { displayWidth } from '../../../src/cli/screen.ts';
import { CliCommand } from '../../../src/cli/command.ts';

let program: CliCommand;

before(async () => {
  program = await createProgram({ env: {}, name: 'lazypull', self: [] }, undefined);
});

/** What a command line that cannot be is answered with, up to the hint. */
async function refusalOf(args: readonly string[]): Promise<string> {
  let text = '';
  for (const command of all(program)) command.configureOutput({ writeErr: (part) => (text += part) });
  await assert.rejects(program.parseAsync(args, { from: 'user' }), CommanderError);
  return text.slice(0, text.indexOf('\nhint: '));
}

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
    const verb = new CliCommand('x').option(
      '--a-very-long-option-indeed <with:value>',
      `what it is for ${'p'.repeat(60)}`,
    );
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

describe('withHelpFirst', () => {
  it('takes "help" behind a command too, if it is no word for the command itself', () => {
    for (const [args, result] of [
      ['cache help', 'help cache'],
      ['cache help prune', 'help cache prune'],
      ['cache prune help', 'help cache prune'],
      ['cache help nonsense', 'help cache nonsense'],
      ['status help', 'help status'],
      ['daemon help', 'daemon --help'],
      ['help cache', 'help cache'],
      ['help help', 'help help'],
      ['ls help', 'ls help'],
      ['trace import help', 'trace import help'],
      ['buildkitd help', 'buildkitd help'],
      ['status --root help', 'status --root help'],
      ['nonsense help', 'nonsense help'],
      ['', ''],
    ] as const) {
      assert.equal(withHelpFirst(args.split(' '), program).join(' '), result);
    }
  });
});

describe('a word that cannot be', () => {
  it('comes before where it stands', async () => {
    for (const [args, message] of [
      [
        ['ls', 'reg.io/UPPER'],
        'lazypull: Cannot parse the image reference "reg.io/UPPER": a repository name is lower-case',
      ],
      [['ls', "a\nb'. c"], 'lazypull: Cannot parse the image reference "a\\nb\'. c": a repository name is'],
      [['ls', 'oci-layout:/x'], 'lazypull: Cannot read "oci-layout:/x" here: it is not in a registry; copy it'],
      [['setup', 'nerdctl'], "lazypull: The argument 'client' cannot be 'nerdctl'. Allowed choices are buildkit,"],
      [
        ['convert', 'a', 'b', '--level', '10'],
        "lazypull: The option '--level <1-9>' cannot be '10'. It must be a whole",
      ],
      [['ls', 'a', '--platform', "x'. y"], 'lazypull: Cannot read the platform "x\'. y": write OS/ARCHITECTURE'],
      [['ls'], "lazypull: Missing required argument 'image'"],
    ] as const) {
      assert.ok((await refusalOf(args)).startsWith(message), await refusalOf(args));
    }
  });
});

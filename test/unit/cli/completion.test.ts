import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type CommandRow, commandTable } from '../../../src/cli/command-table.ts';
import { completions } from '../../../src/cli/completion.ts';
import { createProgram } from '../../../src/cli/program.ts';

let table: CommandRow[];

before(async () => {
  table = commandTable(await createProgram({ env: {}, name: 'lazypull', self: [] }, undefined));
});

/** What bash itself makes of the script. */
describe('the completion of bash', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-completion-'));
  after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'a directory'));
  writeFileSync(join(directory, 'a file'), '');

  it('offers commands, and those below them', () => {
    assert.deepEqual(complete('lazypull', 'c'), ['convert', 'cat', 'check', 'cache', 'completion']);
    assert.deepEqual(complete('lazypull', 'cache', ''), ['ls', 'prune', 'verify']);
    assert.deepEqual(complete('lazypull', 'cache', 'ls', ''), []);
  });

  it('offers the options of the command that is called', () => {
    assert.deepEqual(complete('lazypull', '--v'), ['--version']);
    assert.deepEqual(complete('lazypull', 'cache', 'prune', '--a'), ['--address', '--all']);
    assert.deepEqual(complete('lazypull', 'cache', 'ls', '--a'), ['--address']);
    assert.deepEqual(complete('lazypull', 'ls', 'an/image', '-'), [
      '-R',
      '--recursive',
      '--platform',
      '--config',
      '--json',
      '-h',
      '--help',
    ]);
  });

  it('offers words, files and directories if they are the value, after a space and after "="', () => {
    assert.deepEqual(complete('lazypull', 'setup', 'd'), ['docker']);
    assert.deepEqual(complete('lazypull', 'daemon', '--log-level', 'w'), ['warn']);
    assert.deepEqual(complete('lazypull', 'daemon', '--log-level', '=', 'w'), ['warn']);
    assert.equal(complete('lazypull', 'daemon', '--log-level', '=').length, 7);
    assert.deepEqual(complete('lazypull', 'daemon', '--root', 'a'), ['a directory']);
    assert.deepEqual(complete('lazypull', 'daemon', '--config', 'a').toSorted(), ['a directory', 'a file']);
    assert.deepEqual(complete('lazypull', 'mount', 'an/image', ''), ['a directory']);
    assert.deepEqual(complete('lazypull', 'trace', 'export', 'a f'), ['a file']);
  });

  it('takes no value of an option for a command or an argument', () => {
    assert.deepEqual(complete('lazypull', 'mount', '--platform', 'cache', '--root', '=', 'x', 'an/image', 'a'), [
      'a directory',
    ]);
    assert.deepEqual(complete('lazypull', 'mount', '--', '--fill', 'a'), ['a directory']);
    assert.deepEqual(complete('lazypull', 'mount', '--', '--f'), []);
  });

  /** The words of a command line with the cursor at the end of the last. */
  function complete(...words: string[]): string[] {
    const script = `${completions.bash(table)}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_lazypull
printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { status, stdout, stderr } = spawnSync('bash', ['-uc', script, 'bash', ...words], {
      cwd: directory,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    return stdout.split('\n').filter((line) => line !== '');
  }
});

/** The shells may not be there: this compares with the table. */
describe('the completions of zsh and fish', () => {
  it('have every command with all its options', () => {
    const zsh = completions.zsh(table);
    const fish = completions.fish(table);
    for (const { path, options } of table) {
      const body = zsh.split(/^(?=\S+\(\) \{$)/m).find((text) => text.startsWith(`_${path.replaceAll(' ', '_')}() {`));
      for (const { long, value } of options) {
        assert.ok(body?.includes(value === undefined ? long : `${long}=`), `zsh: ${path} ${long}`);
        assert.ok(fish.includes(`'__lazypull_at ${path}' `), `fish: ${path}`);
        assert.match(fish, new RegExp(`^complete .*'__lazypull_at ${path}'.* -l ${long.slice(2)} .*$`, 'm'));
      }
    }
  });

  it('of fish offer the values of an option and nothing else: words, directories, files, or nothing', () => {
    const fish = completions.fish(table);
    const flagsOf = (path: string, option: string) =>
      new RegExp(`'__lazypull_at ${path}' .*-l ${option} (.*) -d `).exec(fish)?.[1];
    assert.equal(flagsOf('lazypull daemon', 'log-format'), "-x -a 'auto json text'");
    assert.match(flagsOf('lazypull pull', 'platform') ?? '', /^-x -a 'linux\/amd64 linux\/arm64 /);
    assert.equal(flagsOf('lazypull convert', 'level'), "-x -a '1 2 3 4 5 6 7 8 9'");
    assert.equal(flagsOf('lazypull pull', 'namespace'), '-x');
    assert.equal(flagsOf('lazypull daemon', 'config'), '-r -F');
    assert.equal(flagsOf('lazypull daemon', 'root'), "-x -a '(__fish_complete_directories)'");
    assert.equal(flagsOf('lazypull cache prune', 'all'), undefined);
    assert.match(fish, /'__lazypull_at lazypull mount' -a '\(__fish_complete_directories\)'$/m);
    assert.match(fish, /'__lazypull_at lazypull trace import' -F$/m);
  });

  it('quote what they show', () => {
    const row = { ...table[0]!, children: [], arguments: [] };
    const option = { long: '--x', short: undefined, usage: '--x', text: `it's [a] \\ "b"`, value: undefined };
    const odd = [{ ...row, options: [option] }];
    assert.ok(completions.zsh(odd).includes(`'--x[it'\\''s \\[a\\] \\\\ "b"]'`));
    assert.ok(completions.fish(odd).includes(`-l x -d 'it\\'s [a] \\\\ "b"'`));
  });
});

describe('the commands', () => {
  it('all have examples that call them', () => {
    for (const { path, children, examples } of table.slice(1)) {
      if (children.length > 0) continue;
      assert.ok(
        examples.some((example) => example.includes(path)),
        `"${path}" has no example`,
      );
    }
  });
});

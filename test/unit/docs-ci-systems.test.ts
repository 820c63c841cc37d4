import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { type CommandRow, commandTable } from '../../src/cli/command-table.ts';
import { createProgram } from '../../src/cli/program.ts';
import { loadConfig } from '../../src/config/load.ts';
import { repository } from '../support/tools.ts';

/** Names that GitLab gives a meaning of their own: a job that has one is refused. */
const gitlabKeywords =
  'after_script before_script cache default image include pages services spec stages variables workflow';

const page = await readFile(join(repository, 'docs/guides/ci-systems.md'), 'utf8');
/** The file of each section, by its heading. */
const files = new Map(
  page
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.split('\n', 1)[0]!, fileOf(section)]),
);
const script = files.get('The script') ?? '';

let rows: CommandRow[];

before(async () => {
  rows = commandTable(await createProgram({ env: {}, name: 'lazypull', self: [] }, undefined));
});

describe('the files of docs/guides/ci-systems.md', () => {
  it('are one for each system, and the script', () => {
    assert.deepEqual(
      [...files.keys()],
      ['The script', 'GitHub Actions', 'GitLab CI', 'Jenkins', 'Buildkite', 'Tekton'],
    );
  });

  it('call commands and flags of lazypull that are there', () => {
    const calls = [...files.values()].flatMap(lazypullCalls);
    assert.ok(calls.length >= 9, `only ${calls.length} calls`);
    for (const call of calls) assert.equal(problemOf(call, rows), undefined, call.join(' '));
    assert.match(problemOf(['reports'], rows) ?? '', /no command/);
    assert.match(problemOf(['report', '--lasts', '3'], rows) ?? '', /no flag/);
  });

  it('have steps that shells can read', () => {
    for (const [name, text] of files) {
      const steps = name === 'The script' ? [text] : stepsOf(text);
      assert.ok(steps.length > 0, `${name} has no steps`);
      for (const step of steps) {
        for (const shell of ['sh', 'bash']) {
          const { status, stderr } = spawnSync(shell, ['-n'], { input: step, encoding: 'utf8' });
          assert.equal(status, 0, `${name}: ${stderr}\n${step}`);
        }
      }
    }
  });

  it('give the script every variable that it needs', () => {
    const needed = [...script.matchAll(/\$(?:([A-Z_]+)\b|\{([A-Z_]+)\})/g)].map(
      ([, plain, braced]) => plain ?? braced!,
    );
    assert.deepEqual([...new Set(needed)].sort(), ['INDEXES', 'LAZYPULL_URL', 'SOCKET_GROUP']);
    for (const [name, text] of files) {
      if (!text.includes('ci/lazy-builder.sh')) continue;
      // SOCKET_GROUP is read only if it is set.
      for (const variable of ['INDEXES', 'LAZYPULL_URL']) {
        assert.match(text, new RegExp(`^ *${variable}(?::| =) \\S`, 'm'), `${name} does not set ${variable}`);
      }
    }
  });

  it('have no job of GitLab with the name of a keyword', () => {
    const jobs = [...(files.get('GitLab CI') ?? '').matchAll(/^([\w-]+):$/gm)].map(([, job]) => job!);
    assert.equal(jobs.length, 1);
    assert.deepEqual(
      jobs.filter((job) => gitlabKeywords.split(' ').includes(job)),
      [],
    );
  });

  it('write a configuration that the daemon takes', async () => {
    const written = /<< END\n(.*?)^END$/ms.exec(script)?.[1] ?? '';
    const toml = written.replace('$INDEXES', 'registry.example/team/indexes').replace('${PUSH_INDEXES:-false}', 'true');
    await using directory = await mkdtempDisposable(join(tmpdir(), 'lp-docs-'));
    const config = join(directory.path, 'config.toml');
    await writeFile(config, toml);
    const loaded = await loadConfig({ config }, {});
    assert.ok(toml.includes('[index]') && !toml.includes('$'), toml);
    assert.equal(loaded.file?.index?.repository, 'registry.example/team/indexes');
    assert.equal(loaded.file?.index?.push, true);
    assert.deepEqual(loaded.warnings, []);
  });
});

/** The first block of code of a section that is not a command to type. */
function fileOf(section: string): string {
  return /^```(?:sh|yaml|groovy)\n(.*?)^```$/ms.exec(section)?.[1] ?? '';
}

/** The words after "lazypull" of each call of it in a file. */
function lazypullCalls(text: string): string[][] {
  return [...text.matchAll(/(?:^|[\s;'])lazypull ([a-z][^\n;&|>']*)/gm)].map(([, words = '']) =>
    words.trim().split(/\s+/),
  );
}

/** What is wrong with a call; undefined if nothing is. */
function problemOf([verb = '', ...words]: readonly string[], table: readonly CommandRow[]): string | undefined {
  const row = table.find(({ path }) => path === `lazypull ${verb}`);
  if (row === undefined) return `there is no command "${verb}"`;
  if (verb === 'buildkitd') return undefined; // its flags are those of buildkitd
  const flag = words.find(
    (word) =>
      word.startsWith('-') && !row.options.some(({ long, short }) => [long, short].includes(word.split('=')[0]!)),
  );
  return flag === undefined ? undefined : `"${verb}" has no flag "${flag}"`;
}

/** The texts that a CI system gives to a shell, in a file of one of the kinds on the page. */
function stepsOf(text: string): string[] {
  const blocks = [...text.matchAll(/^( *)(?:run|script): \|\n((?:\1 +.*\n|\n)+)/gm)].map(([, , block]) => block!);
  const single = [...text.matchAll(/^ *run: ([^|\n].*)$/gm)].map(([, line]) => line!);
  const lists = [...text.matchAll(/^( *)(?:script|commands):\n((?:\1 +- .*\n)+)/gm)].flatMap(([, , list = '']) =>
    [...list.matchAll(/^ *- (.*)$/gm)].map(([, line]) => line!),
  );
  const groovy = [...text.matchAll(/^ *sh '(.*)'$/gm)].map(([, line]) => line!);
  return [...blocks, ...single, ...lists, ...groovy];
}

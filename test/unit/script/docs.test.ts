import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { commandPage } from '../../../script/docs/command-page.ts';
import { configurationPage } from '../../../script/docs/configuration-page.ts';
import { environment } from '../../../script/docs/manual.ts';
import { manPage, prose } from '../../../script/docs/man-page.ts';
import { type CommandRow, commandTable, isCall } from '../../../src/cli/command-table.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { fileSchema } from '../../../src/config/schema.ts';

let table: CommandRow[];

before(async () => {
  table = commandTable(await createProgram({ env: {}, name: 'lazypull', self: [] }, undefined));
});

describe('the pages of the commands', () => {
  it('have every command with its arguments, options and examples', () => {
    const markdown = commandPage(table);
    const roff = manPage(table);
    assert.match(markdown, /^## lazypull index$/m);
    for (const { path, options, examples } of table.slice(1).filter(isCall)) {
      const section = markdown.split(/^(?=## )/m).find((text) => text.startsWith(`## ${path}\n`));
      for (const { long } of options) assert.ok(long === '--help' || section?.includes(long), `${path} ${long}`);
      for (const example of examples) assert.ok(section?.includes(example), example);
      assert.ok(roff.includes(`\n.SS ${path.replaceAll('-', '\\-')}`), path);
    }
  });

  it('do not depend on the machine that makes them', () => {
    assert.doesNotMatch(commandPage(table) + manPage(table), new RegExp(`linux/(amd64|arm64) *[|)]`));
  });
});

describe('the manual', () => {
  it('has every variable of the environment that the sources read', () => {
    const root = fileURLToPath(new URL('../../..', import.meta.url));
    const read = globSync('src/**/*.ts', { cwd: root }).flatMap((file) => {
      const text = readFileSync(join(root, file), 'utf8');
      return [...text.matchAll(/\benv\.((?:LAZYPULL|BUILDKIT|CONTAINERD|DOCKER)_[A-Z_]+)/g)].map(([, name]) => name!);
    });
    assert.ok(read.includes('LAZYPULL_ROOT'));
    const names = environment.flatMap(({ name }) => name.split(', '));
    assert.deepEqual(
      [...new Set(read)].filter((name) => !names.includes(name)),
      [],
    );
  });
});

describe('the manual page', () => {
  it('has what is literal as it is, and no line that roff takes for a request', () => {
    assert.equal(prose(`a \\ "b" 'c' --d \`e-f\``), `a \\e \\(dqb\\(dq \\(aqc\\(aq \\-\\-d \\fBe\\-f\\fR`);
    assert.equal(prose('.TH is no request'), '\\&.TH is no request');
    assert.equal(prose("'quoted'"), '\\(aqquoted\\(aq');
    assert.equal(prose('One sentence. Another one.'), 'One sentence.\nAnother one.');
  });

  it('has only requests of man(7)', () => {
    const known = /^\.(\\"|TH|SH|SS|TP|B|I|BR|RI|PP|RS|RE|EX|EE)( |$)/;
    for (const line of manPage(table).split('\n')) if (/^[.']/.test(line)) assert.match(line, known);
  });
});

describe('the page of the configuration', () => {
  it('has every key of the schema', () => {
    const page = configurationPage();
    const check = (value: object, path: string): void => {
      for (const [key, inner] of Object.entries(value)) {
        if (Array.isArray(inner)) {
          const isThere = page.includes(`## [[${path}${key}]]\n`) || page.includes(`| \`${path}${key}\` |`);
          assert.ok(isThere || page.includes(`| \`${key}\` |`), key);
        } else if (typeof inner === 'object' && inner !== null) {
          check(inner, `${path}${key}.`);
        } else {
          const isThere = page.includes(`| \`${key}\` |`) || page.includes(`| \`${path}${key}\` |`);
          assert.ok(isThere, `${path}${key}`);
        }
      }
    };
    check(fileSchema.parse({}), '');
    for (const key of ['max_size', 'insecure', 'header']) assert.ok(page.includes(`| \`${key}\` |`), key);
    assert.ok(page.includes('## [[resolver.host."NAME".mirrors]]'));
  });
});

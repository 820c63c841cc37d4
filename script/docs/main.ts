#!/usr/bin/env node
import { execFileSync } from 'node:child_process';
import { glob, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { commandTable } from '../../src/cli/command-table.ts';
import { createProgram } from '../../src/cli/program.ts';
import { emitDeclarations } from '../declarations/emit.ts';
import { apiPage } from './api-page.ts';
import { commentProblems } from './comments.ts';
import { configurationPage } from './configuration-page.ts';
import { commandPage } from './command-page.ts';
import { lintOverrides } from '../floors/lint.ts';
import { roomsSection } from '../floors/page.ts';
import { manPage } from './man-page.ts';
import { reflowed } from './reflow.ts';
import { avoidedWords } from './words.ts';

const root = join(import.meta.dirname, '../..');

/**
 * Writes what is made from the command table, the schema of the configuration, the declarations of the library and the
 * table of floors, and breaks the lines of all pages. With `--check` it says what is not current.
 */
async function main(args: readonly string[]): Promise<void> {
  const program = await createProgram({ env: {}, name: 'lazypull', self: [] }, undefined);
  const table = commandTable(program);
  const pages: Record<string, string> = {
    'docs/api.md': apiPage(await emitDeclarations(root), (code) => formatted(code, 'x.ts')),
    'docs/cli.md': commandPage(table),
    'docs/configuration.md': configurationPage(),
    'share/man/lazypull.1': manPage(table),
    'docs/architecture.md': withSection(await text('docs/architecture.md'), 'rooms', roomsSection()),
    '.oxlintrc.json': formatted(
      JSON.stringify({ ...JSON.parse(await text('.oxlintrc.json')), overrides: lintOverrides() }),
      'x.json',
    ),
  };
  for await (const name of glob(['*.md', 'docs/**/*.md'], { cwd: root })) {
    pages[name] = reflowed(pages[name] ?? (await text(name)));
  }
  for (const [name, content] of Object.entries(pages)) {
    if (name.endsWith('.md')) sayWords(name, content);
    const path = join(root, name);
    const isCurrent = (await readFile(path, 'utf8').catch(() => '')) === content;
    if (isCurrent) continue;
    if (args.includes('--check')) {
      process.stderr.write(`${name} is not what the sources give: run npm run gen:docs\n`);
      process.exitCode = 1;
    } else {
      await writeFile(path, content);
      process.stdout.write(`Wrote ${name}\n`);
    }
  }
  await sayComments();
}

function sayWords(name: string, page: string): void {
  for (const { line, word } of avoidedWords(page)) {
    process.stderr.write(`${name}:${line}: "${word}": name what it is, or say "if" (script/docs/words.ts)\n`);
    process.exitCode = 1;
  }
}

/** Says what is wrong with the comments of all sources. */
async function sayComments(): Promise<void> {
  for await (const name of glob('{src,bench,script,test}/**/*.ts', { cwd: root })) {
    if (name.startsWith('src/gen/')) continue;
    for (const { line, text: problem } of commentProblems(await text(name))) {
      process.stderr.write(`${name}:${line}: a comment with ${problem}: see CONTRIBUTING.md, "English"\n`);
      process.exitCode = 1;
    }
  }
}

function text(path: string): Promise<string> {
  return readFile(join(root, path), 'utf8');
}

/** A page with what stands between the comments `<!-- name -->` and `<!-- /name -->` replaced. */
function withSection(page: string, name: string, section: string): string {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  return `${page.slice(0, page.indexOf(start) + start.length)}\n\n${section}\n\n${page.slice(page.indexOf(end))}`;
}

/** Code as the formatter wants it; `name` says by its extension what it is. */
function formatted(code: string, name: string): string {
  const biome = join(root, 'node_modules/.bin/biome');
  return execFileSync(biome, ['format', `--stdin-file-path=${name}`], { cwd: root, input: code, encoding: 'utf8' });
}

await main(process.argv.slice(2));

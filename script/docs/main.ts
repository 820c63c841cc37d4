#!/usr/bin/env node
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { commandTable } from '../../src/cli/command-table.ts';
import { createProgram } from '../../src/cli/program.ts';
import { configurationPage } from './configuration-page.ts';
import { commandPage } from './command-page.ts';
import { manPage } from './man-page.ts';

const root = join(import.meta.dirname, '../..');

/** Writes the pages that are made from the command table and from the schema of the configuration; with `--check` it says which are not current. */
async function main(args: readonly string[]): Promise<void> {
  const program = await createProgram({ env: {}, name: 'lazypull', self: [] }, undefined);
  const table = commandTable(program);
  const pages = {
    'docs/cli.md': commandPage(table),
    'docs/configuration.md': configurationPage(),
    'share/man/lazypull.1': manPage(table),
  };
  for (const [name, text] of Object.entries(pages)) {
    const path = join(root, name);
    const isCurrent = (await readFile(path, 'utf8').catch(() => '')) === text;
    if (isCurrent) continue;
    if (args.includes('--check')) {
      process.stderr.write(`${name} is not what the sources give: run npm run gen:docs\n`);
      process.exitCode = 1;
    } else {
      await writeFile(path, text);
      process.stdout.write(`Wrote ${name}\n`);
    }
  }
}

await main(process.argv.slice(2));

#!/usr/bin/env node
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { emitDeclarations } from './emit.ts';

const root = join(import.meta.dirname, '../..');

/** The end of a build: writes the declarations of the library, and removes from dist what no source gives any more. */
async function main(): Promise<void> {
  const dist = join(root, 'dist');
  const declarations = await emitDeclarations(root);
  for (const [path, text] of declarations) {
    await mkdir(join(dist, dirname(path)), { recursive: true });
    await writeFile(join(dist, path), text);
  }
  for (const path of await readdir(dist, { recursive: true })) {
    const isStale = path.endsWith('.d.ts')
      ? !declarations.has(path)
      : path.endsWith('.js') && !existsSync(join(root, 'src', path.replace(/\.js$/, '.ts')));
    if (isStale) await rm(join(dist, path));
  }
}

await main();

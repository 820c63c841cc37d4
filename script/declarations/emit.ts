import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { promisify } from 'node:util';

/** What a module is called by in the declarations that the compiler writes. */
const specifier = /(\bfrom |\bimport\(|\bimport )'(\.[^']*)\.ts'/g;

/**
 * The declarations of the library: those of src/index.ts and of what it refers to, by path below dist.
 *
 * @param root of the repository
 */
export async function emitDeclarations(root: string): Promise<Map<string, string>> {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-declarations-'));
  try {
    const tsc = join(root, 'node_modules/.bin/tsc');
    await promisify(execFile)(tsc, ['-p', join(root, 'tsconfig.declarations.json'), '--outDir', directory]);
    const found = new Map<string, string>();
    for (const todo = ['index.d.ts']; todo.length > 0; ) {
      const path = todo.pop()!;
      if (found.has(path)) continue;
      const text = await readFile(join(directory, path), 'utf8');
      found.set(path, text.replace(specifier, "$1'$2.js'"));
      for (const [, , module] of text.matchAll(specifier)) todo.push(normalize(join(dirname(path), `${module}.d.ts`)));
    }
    return found;
  } finally {
    await rm(directory, { recursive: true });
  }
}

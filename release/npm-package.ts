import { existsSync } from 'node:fs';
import { copyFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from '../test/support/tools.ts';

/**
 * Takes the package for npm from where script/package has put it.
 *
 * @throws if `dist` has what no source gives any more: that was packed too
 */
export async function takeNpmPackage(packages: string, output: string): Promise<void> {
  const dist = join(repository, 'dist');
  for (const file of await readdir(dist, { recursive: true })) {
    if (!file.endsWith('.js') || existsSync(join(repository, 'src', file.replace(/\.js$/, '.ts')))) continue;
    throw new Error(`Cannot make a release: no source gives ${join(dist, file)}; remove ${dist}`);
  }
  for (const name of await readdir(packages)) {
    if (name.endsWith('.tgz')) await copyFile(join(packages, name), join(output, name));
  }
}

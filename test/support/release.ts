import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from './tools.ts';

/** Where `script/test release` has put a release. */
export const releaseDirectory = join(repository, '.cache', 'release');

/** The version in package.json. */
export const { version } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as { version: string };

/** The one file of the release whose name matches. */
export async function releaseFile(name: RegExp): Promise<string> {
  const found = (await readdir(releaseDirectory)).filter((each) => name.test(each));
  assert.equal(found.length, 1, `${found.join(', ')} in ${releaseDirectory}`);
  return join(releaseDirectory, found[0]!);
}

import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { run, tryRun } from './program.ts';
import { repository } from './tools.ts';

/** The commit of the last release, 0.1.0. */
export const lastRelease = '60f8ab52319d0c42e959d2a0051d871c8ca0490d';

/** Makes a checkout of a commit in an empty directory, which has the packages of this one, and compiles it. */
export async function checkOut(commit: string, directory: string): Promise<void> {
  const git = ['-c', `safe.directory=${repository}`, '-C', repository];
  if ((await tryRun('git', [...git, 'cat-file', '-e', commit])).status !== 0) {
    throw new Error(`The history of "${repository}" does not have ${commit}: get it with "git fetch --unshallow"`);
  }
  const archive = join(directory, 'archive.tar');
  await run('git', [...git, 'archive', '--output', archive, commit]);
  await run('tar', ['-xf', archive, '-C', directory]);
  await symlink(join(repository, 'node_modules'), join(directory, 'node_modules'));
  await run('npm', ['run', '--silent', 'build'], { cwd: directory });
}

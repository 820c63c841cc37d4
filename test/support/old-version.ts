import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './program.ts';
import { repository } from './tools.ts';

/** The last release, compiled: `bin` and `dist` of 60f8ab5, which need the packages of this repository. */
const lastRelease = join(repository, 'test', 'fixtures', 'lazypull-0.1.0.tar.gz');

/** Unpacks the last release into an empty directory, or makes a checkout of a commit there, and compiles it. */
export async function installOld(directory: string, commit?: string): Promise<void> {
  await symlink(join(repository, 'node_modules'), join(directory, 'node_modules'));
  if (commit === undefined) {
    await run('tar', ['-xzf', lastRelease, '-C', directory]);
    return;
  }
  const archive = join(directory, 'archive.tar');
  const git = ['-c', `safe.directory=${repository}`, '-C', repository];
  await run('git', [...git, 'archive', '--output', archive, commit]);
  await run('tar', ['-xf', archive, '-C', directory]);
  await run('npm', ['run', '--silent', 'build'], { cwd: directory });
}

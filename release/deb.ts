import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { run } from '../test/support/program.ts';
import { repository } from '../test/support/tools.ts';
import type { Source } from './source.ts';
import type { Effort } from './tarball.ts';
import { settle, type Tree } from './tree.ts';

const templates = join(repository, 'release', 'debian');
const scripts = ['postinst', 'prerm', 'postrm'];

/**
 * Makes the Debian package of a tree, which becomes its /usr. Files below /etc are kept if the administrator has
 * changed them.
 *
 * @param work a directory that is not there yet
 * @param output the directory for the package
 */
export async function makeDeb(tree: Tree, work: string, output: string, source: Source, effort: Effort): Promise<void> {
  const at = (...parts: string[]) => join(work, ...parts);
  await mkdir(at('DEBIAN'), { recursive: true });
  await rename(tree.path, at('usr'));
  await compress(at('usr', 'share', 'man', 'man1', 'lazypull.1'), at('usr', 'share', 'man', 'man1', 'lazypull.1.gz'));
  await rename(at('usr', 'lib', 'lazypull', 'CHANGELOG.md'), at('usr', 'share', 'doc', 'lazypull', 'changelog'));
  await compress(at('usr/share/doc/lazypull/changelog'), at('usr/share/doc/lazypull/changelog.gz'));
  await rename(at('usr', 'share', 'zsh', 'site-functions'), at('usr', 'share', 'zsh', 'vendor-completions'));
  await cp(join(templates, 'etc'), at('etc'), { recursive: true });
  const files = await filesBelow(work, 'usr');
  const configuration = await filesBelow(work, 'etc');
  await writeFile(at('DEBIAN', 'conffiles'), configuration.map((file) => `/${file}\n`).join(''));
  await writeFile(at('DEBIAN', 'md5sums'), (await Promise.all(files.map((file) => md5Line(work, file)))).join(''));
  for (const name of scripts) await cp(join(templates, name), at('DEBIAN', name));
  // A pre-release comes before its release: Debian writes that with a tilde.
  const version = source.version.replace('-', '~');
  const control = (await readFile(join(templates, 'control'), 'utf8'))
    .replace('@VERSION@', version)
    .replace('@ARCHITECTURE@', tree.architecture)
    .replace('@SIZE@', String(await sizeInKiB(work, files)));
  await writeFile(at('DEBIAN', 'control'), control);
  await settle(work, source.epoch);
  const xz = ['-Zxz', effort === 'quick' ? '-z0' : '-z6'];
  await run('dpkg-deb', [
    '--root-owner-group',
    ...xz,
    '--build',
    work,
    join(output, `lazypull_${version}_${tree.architecture}.deb`),
  ]);
}

async function compress(from: string, to: string): Promise<void> {
  await writeFile(to, gzipSync(await readFile(from), { level: 9 }));
  await rm(from);
}

/** The regular files below a directory of the root, as paths from the root, sorted. */
async function filesBelow(root: string, directory: string): Promise<string[]> {
  const entries = await readdir(join(root, directory), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map(({ parentPath, name }) => join(parentPath, name).slice(root.length + 1)).toSorted();
}

async function md5Line(root: string, file: string): Promise<string> {
  return `${createHash('md5')
    .update(await readFile(join(root, file)))
    .digest('hex')}  ${file}\n`;
}

async function sizeInKiB(root: string, files: readonly string[]): Promise<number> {
  let size = 0;
  for (const file of files) size += Math.ceil((await readFile(join(root, file))).length / 1024);
  return size;
}

import { createHash } from 'node:crypto';
import { chmod, copyFile, glob, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { aptProxy } from '../test/support/debian.ts';
import { run } from '../test/support/program.ts';
import { systemTool } from '../test/support/tools.ts';
import { type Architecture, settle } from './tree.ts';

const suite = 'trixie';

/** What the launchers call, Node's library, what buildkitd calls, and the certificates of registries. */
const packages = [
  'base-files',
  'base-passwd',
  'ca-certificates',
  'coreutils',
  'dash',
  'git',
  'grep',
  'libstdc++6',
  'mount',
  'openssh-client',
  'runc',
  'sed',
];

/** What no program of the image reads. Licences stay. */
const leftOut = [
  'path-exclude=/usr/share/doc/*',
  'path-include=/usr/share/doc/*/copyright',
  'path-exclude=/usr/share/locale/*',
  'path-exclude=/usr/share/man/*',
  'path-exclude=/usr/bin/perl*',
  'path-exclude=/usr/lib/*/libperl*',
  'path-exclude=/usr/lib/*/perl*',
  'path-exclude=/usr/share/perl*',
];

/** A package of Debian in an image. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Of its file, in hexadecimal digits. */
  readonly sha256: string;
}

/**
 * Makes the root file system below the programs of a builder, of Debian packages for any architecture. None of them is
 * set up, so no program of the target runs: what their scripts would write and the image needs is written here.
 *
 * @param root an empty directory
 * @param work another one
 * @returns the packages, which are the newest that apt gives
 */
export async function makeBuilderBase(
  architecture: Architecture,
  root: string,
  work: string,
  epoch: number,
): Promise<DebianPackage[]> {
  const at = (...parts: string[]) => join(root, ...parts);
  const tar = join(work, 'debian.tar');
  await run(
    systemTool('mmdebstrap'),
    [
      '--variant=extract',
      `--architectures=${architecture}`,
      `--include=${packages.join(',')}`,
      ...leftOut.map((each) => `--dpkgopt=${each}`),
      `--extract-hook=copy-out /var/cache/apt/archives ${work}`,
      ...(await aptProxy()),
      suite,
      tar,
    ],
    { env: { TMPDIR: work } },
  );
  await run('tar', ['--extract', '--no-same-owner', '--exclude=./dev/*', '--file', tar, '--directory', root]);
  await rm(tar);
  // They are of the machine that made this.
  for (const name of ['hostname', 'resolv.conf', 'apt', 'dpkg/dpkg.cfg.d'])
    await rm(at('etc', name), { recursive: true });
  for (const name of ['apt', 'dpkg']) await rm(at('var', 'lib', name), { recursive: true });
  await rm(at('var', 'cache'), { recursive: true });
  for (const name of ['passwd', 'group']) {
    await copyFile(at('usr', 'share', 'base-passwd', `${name}.master`), at('etc', name));
  }
  await bundleCertificates(root);
  const found = await recordPackages(join(work, 'archives'), root);
  await settle(root, epoch);
  for (const name of ['tmp', 'var/tmp']) await chmod(at(name), 0o1777);
  return found;
}

/** Where programs look for the certificates of authorities, and where update-ca-certificates puts them. */
async function bundleCertificates(root: string): Promise<void> {
  const directory = join(root, 'usr', 'share', 'ca-certificates');
  const names = await Array.fromAsync(glob('**/*.crt', { cwd: directory }));
  const texts = await Promise.all(names.toSorted().map((name) => readFile(join(directory, name), 'utf8')));
  if (texts.length === 0) throw new Error(`Cannot find certificates of authorities in ${directory}`);
  await writeFile(
    join(root, 'etc', 'ssl', 'certs', 'ca-certificates.crt'),
    texts.map((text) => `${text.trim()}\n`),
  );
}

/** Writes the list of packages that scanners of images read, and gives it. */
async function recordPackages(archives: string, root: string): Promise<DebianPackage[]> {
  const found: DebianPackage[] = [];
  let status = '';
  for (const name of (await readdir(archives)).toSorted()) {
    if (!name.endsWith('.deb')) continue;
    const path = join(archives, name);
    const control = await run('dpkg-deb', ['--field', path]);
    const field = (key: string) => new RegExp(`^${key}: (.+)$`, 'm').exec(control)?.[1] ?? '';
    const sha256 = createHash('sha256').update(await readFile(path));
    found.push({
      name: field('Package'),
      version: field('Version'),
      architecture: field('Architecture'),
      sha256: sha256.digest('hex'),
    });
    status += `${control.trimEnd().replace('\n', '\nStatus: install ok unpacked\n')}\n\n`;
  }
  await mkdir(join(root, 'var', 'lib', 'dpkg'));
  await writeFile(join(root, 'var', 'lib', 'dpkg', 'status'), status);
  return found;
}

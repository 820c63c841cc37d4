import { chmod, copyFile, lstat, lutimes, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../test/support/program.ts';
import { repository } from '../test/support/tools.ts';
import { licencesIn } from './licences.ts';

/** The architectures of a release, by their names in images and in Debian. */
export const architectures = ['amd64', 'arm64'] as const;
export type Architecture = (typeof architectures)[number];

/** Their names in Node. */
export const cpus: Readonly<Record<Architecture, string>> = { amd64: 'x64', arm64: 'arm64' };

/** What is installed below /usr or /usr/local, or runs where it is unpacked. */
export interface Tree {
  readonly architecture: Architecture;
  readonly path: string;
}

/**
 * Makes the tree for an architecture: programs, Node, units, the manual page, completions, licences. Every file has the
 * same time, and permissions that do not depend on the umask.
 *
 * @param prefix what script/package made; becomes the tree
 * @param work an empty directory
 */
export async function makeTree(architecture: Architecture, prefix: string, work: string, epoch: number): Promise<Tree> {
  const at = (...parts: string[]) => join(prefix, ...parts);
  const library = at('lib', 'lazypull');
  await rename(at('lib', 'node_modules', 'lazypull'), library);
  await rm(at('lib', 'node_modules'), { recursive: true });
  // Where npm keeps what it knows; no program of ours reads it.
  await rm(join(library, 'node_modules', '.package-lock.json'));
  const node = await installNode(architecture, work);
  await mkdir(join(library, 'node_modules', '.bin'), { recursive: true });
  await rename(join(node, 'bin', 'node'), join(library, 'node_modules', '.bin', 'node'));
  for (const name of ['lazypull', 'containerd-stargz-grpc']) {
    await rm(at('bin', name));
    await symlink(`../lib/lazypull/bin/${name}`, at('bin', name));
  }
  await mkdir(at('lib', 'systemd'));
  await rename(join(library, 'share', 'systemd'), at('lib', 'systemd', 'system'));
  await rm(at('share', 'man'), { recursive: true });
  await mkdir(at('share', 'man'), { recursive: true });
  await rename(join(library, 'share', 'man'), at('share', 'man', 'man1'));
  await rm(join(library, 'share'), { recursive: true });
  await addCompletions(at('share'));
  await mkdir(at('share', 'doc', 'lazypull'), { recursive: true });
  await writeFile(at('share', 'doc', 'lazypull', 'copyright'), await licencesIn(library, node));
  await settle(prefix, epoch);
  return { architecture, path: prefix };
}

/** Installs the Node that tools/node/package-lock.json names, for any architecture, and gives the root of its package. */
async function installNode(architecture: Architecture, work: string): Promise<string> {
  for (const name of ['package.json', 'package-lock.json']) {
    await copyFile(join(repository, 'tools', 'node', name), join(work, name));
  }
  const cpu = cpus[architecture];
  await run('npm', ['ci', '--os=linux', `--cpu=${cpu}`, '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: work });
  return join(work, 'node_modules', `node-linux-${cpu}`);
}

async function addCompletions(share: string): Promise<void> {
  for (const [shell, directory, name] of [
    ['bash', 'bash-completion/completions', 'lazypull'],
    ['zsh', 'zsh/site-functions', '_lazypull'],
    ['fish', 'fish/vendor_completions.d', 'lazypull.fish'],
  ] as const) {
    const script = await run(join(repository, 'bin', 'lazypull'), ['completion', shell]);
    await mkdir(join(share, directory), { recursive: true });
    await writeFile(join(share, directory, name), script);
  }
}

/** Gives everything at and below a path one time, and the permissions 755 or 644. */
export async function settle(path: string, epoch: number): Promise<void> {
  const stat = await lstat(path);
  if (stat.isDirectory()) {
    for (const name of await readdir(path)) await settle(join(path, name), epoch);
  }
  if (!stat.isSymbolicLink()) await chmod(path, stat.isDirectory() || (stat.mode & 0o100) !== 0 ? 0o755 : 0o644);
  await lutimes(path, epoch, epoch);
}

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { run, type RunOptions } from './program.ts';
import { systemTool } from './tools.ts';

const hostSources = '/etc/apt/sources.list.d/debian.sources';

/** The Debian release to make images of: the machine's own, if it is a Debian. */
export async function debianSuite(): Promise<string> {
  const release = await readFile('/etc/os-release', 'utf8');
  const debian = /^ID=debian$/m.test(release);
  return (debian ? release.match(/^VERSION_CODENAME=(\w+)$/m)?.[1] : undefined) ?? 'bookworm';
}

/**
 * Makes a tar of a small Debian with packages besides, from the mirror that the machine uses. `directory` is for
 * temporary files.
 */
export async function makeDebian(
  suite: string,
  packages: readonly string[],
  tar: string,
  directory: string,
  options: Pick<RunOptions, 'signal' | 'onLine'> = {},
): Promise<void> {
  const args = [
    '--mode=root',
    '--variant=minbase',
    `--include=${packages.join(',')}`,
    ...(await aptProxy()),
    suite,
    tar,
  ];
  if (existsSync(hostSources)) args.push(hostSources);
  await run(systemTool('mmdebstrap'), args, { ...options, env: { TMPDIR: directory } });
}

/** Arguments for mmdebstrap: it reads nothing of the host's apt configuration, so a proxy must be handed on. */
export async function aptProxy(): Promise<string[]> {
  const proxy = (await run('apt-config', ['shell', 'proxy', 'Acquire::http::Proxy'])).match(/'(.+)'/)?.[1];
  return proxy === undefined ? [] : [`--aptopt=Acquire::http::Proxy "${proxy}"`];
}

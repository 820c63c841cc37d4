import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from '../test/support/program.ts';
import { repository } from '../test/support/tools.ts';
import type { Architecture } from './tree.ts';

const path = 'github.com/moby/buildkit';
const commands = ['buildkitd', 'buildctl'].map((name) => `${path}/cmd/${name}`);

/** A Go module in programs. */
export interface GoModule {
  readonly path: string;
  readonly version: string;
}

/**
 * Builds buildkitd and buildctl of the version in tools/buildkit, static and for any architecture, with the licences of
 * all that is in them.
 *
 * @param programs the directory for the programs
 * @param licences the file for the licences
 * @returns the modules, BuildKit first
 */
export async function buildBuildkit(
  architecture: Architecture,
  programs: string,
  licences: string,
): Promise<GoModule[]> {
  const env = { ...goPath(), CGO_ENABLED: '0', GOOS: 'linux', GOARCH: architecture };
  const go = (args: readonly string[]) => run('go', ['-C', join(repository, 'tools', 'buildkit'), ...args], { env });
  const template = '{{with .Module}}{{.Path}} {{.Version}} {{.Dir}}{{end}}';
  const lines = (await go(['list', '-deps', '-f', template, ...commands])).split('\n').filter((line) => line !== '');
  const found = [...new Set(lines)].toSorted().map((line) => line.split(' ') as [string, string, string]);
  const own = found.find(([name]) => name === path);
  if (own === undefined) throw new Error(`Cannot find ${path} in tools/buildkit`);
  const modules = [own, ...found.filter((each) => each !== own)];
  await mkdir(programs, { recursive: true });
  await go(['build', '-trimpath', '-buildvcs=false', '-ldflags', flagsFor(own[1]), '-o', `${programs}/`, ...commands]);
  await mkdir(dirname(licences), { recursive: true });
  const sections = await Promise.all(modules.map((each) => section(...each)));
  await writeFile(licences, sections.join(`\n${'-'.repeat(80)}\n\n`));
  return modules.map(([name, version]) => ({ path: name, version }));
}

/** The version of Go that builds them. */
export async function goVersion(): Promise<string> {
  const answer = await run('go', ['-C', join(repository, 'tools', 'buildkit'), 'env', 'GOVERSION'], { env: goPath() });
  return answer.trim().replace(/^go/, '');
}

/** PATH, with the place of Go's own installer at its end. */
function goPath(): { PATH: string } {
  return { PATH: `${process.env['PATH']}:/usr/local/go/bin` };
}

/** Without debug information, and with the version that clients are told. */
function flagsFor(version: string): string {
  return `-s -w -X ${path}/version.Version=${version}`;
}

async function section(name: string, version: string, directory: string): Promise<string> {
  const files = (await readdir(directory)).filter((entry) => /^(licen[cs]e|copying|notice)/i.test(entry)).toSorted();
  const texts = await Promise.all(files.map((file) => readFile(join(directory, file), 'utf8').catch(() => '')));
  return [`${name} ${version}\n`, ...texts].filter((text) => text !== '').join('\n');
}

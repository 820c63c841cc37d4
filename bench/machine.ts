import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, statfs } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { tryRun } from '../test/support/program.ts';
import { buildkitTools, builtTools, repository, systemTool } from '../test/support/tools.ts';

/** Where the numbers come from. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly system: string;
  /** File system that the daemons and builds are on. */
  readonly fileSystem: string;
  readonly versions: Readonly<Record<string, string>>;
}

const fileSystems = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
]);
const watchMs = 250;

/**
 * Describes the machine; `directory` is on the file system in use, and `stargz` is the Go daemon, if there is one.
 */
export async function describeMachine(directory: string, stargz: string | undefined): Promise<Machine> {
  const { type } = await statfs(directory);
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: `Linux ${release()} ${process.arch}`,
    system: /^PRETTY_NAME="?(.*?)"?$/m.exec(await readFile('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
    fileSystem: fileSystems.get(type) ?? `0x${type.toString(16)}`,
    versions: {
      lazypull: await lazypullVersion(),
      Node: process.version,
      BuildKit: await buildkitVersion(),
      'docker-registry': await versionOf(systemTool('docker-registry')),
      ...(stargz === undefined ? {} : { 'containerd-stargz-grpc': await versionOf(stargz) }),
    },
  };
}

/** Which part of the machine's processors is busy, 0 to 1, measured for a quarter of a second. */
export async function busyPart(): Promise<number> {
  const before = await processorTimes();
  await delay(watchMs);
  const after = await processorTimes();
  const total = after.total - before.total;
  return total <= 0 ? 0 : 1 - (after.idle - before.idle) / total;
}

async function processorTimes(): Promise<{ total: number; idle: number }> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n');
  // user nice system idle iowait irq softirq steal; guest times are within user times (proc_stat(5)).
  const times = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return { total: times.reduce((sum, time) => sum + time, 0), idle: (times[3] ?? 0) + (times[4] ?? 0) };
}

async function lazypullVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(`${repository}/package.json`, 'utf8')) as { version: string };
  const commit = await tryRun('git', ['-C', repository, 'rev-parse', '--short=12', 'HEAD']);
  if (commit.status !== 0) return version;
  const changes = await tryRun('git', ['-C', repository, 'status', '--porcelain', '--', 'src', 'bin']);
  return `${version} (${commit.stdout.trim()}${changes.stdout === '' ? '' : ', with changes'})`;
}

/** What the program says, or else, if the build left that out, the version in tools/buildkit/go.mod. */
async function buildkitVersion(): Promise<string> {
  const { buildkitd } = buildkitTools();
  const told = await versionOf(buildkitd);
  if (!told.startsWith('v0.0.0') || dirname(buildkitd) !== builtTools) return told;
  const module = await readFile(join(repository, 'tools', 'buildkit', 'go.mod'), 'utf8');
  return /github\.com\/moby\/buildkit (v\S+)/.exec(module)?.[1] ?? told;
}

/** The version that the program tells, else the start of its sha256. */
async function versionOf(program: string): Promise<string> {
  const { status, stdout } = await tryRun(program, ['--version']);
  const version = /\bv?\d+\.\d+\S*/.exec(stdout)?.[0];
  if (status === 0 && version !== undefined) return version;
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(program)) hash.update(bytes as Buffer);
  return `of unknown version (sha256 ${hash.digest('hex').slice(0, 12)})`;
}

import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repository } from './tools.ts';
import { tryRun } from './program.ts';

/** File systems on which BuildKit and containerd cannot keep overlays, by f_type (linux/magic.h). */
const unusable = new Map([
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlay'],
]);

/**
 * A fresh directory on a real disk for the state of daemons. Disposing of it ends what still runs from there, unmounts
 * what is still mounted there, and removes it.
 */
export class Workspace implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Below the first of TMPDIR, /var/tmp and the repository's .cache that is neither tmpfs nor overlay. Keep `name`
   * short: sockets lie inside, and their paths end at 107 bytes.
   */
  static async open(name: string): Promise<Workspace> {
    const cache = join(repository, '.cache');
    await mkdir(cache, { recursive: true });
    const tried: string[] = [];
    for (const parent of [tmpdir(), '/var/tmp', cache]) {
      const { type } = await statfs(parent);
      const kind = unusable.get(type);
      if (kind === undefined) {
        await removeAbandoned(parent, name);
        return new Workspace(await mkdtemp(join(parent, `${name}-${process.pid}-`)));
      }
      tried.push(`${parent} (${kind})`);
    }
    throw new Error(`No directory for overlays among ${tried.join(', ')}: set TMPDIR to a directory on a real disk`);
  }

  /** A new, empty directory inside. */
  async directory(name: string): Promise<string> {
    const path = join(this.path, name);
    await mkdir(path, { recursive: true });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endKeepers(this.path);
    await unmountBelow(this.path);
    await rm(this.path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** The mount points at or below `path`, the innermost first. */
export async function mountsBelow(directory: string): Promise<string[]> {
  const path = await realpath(directory).catch(() => directory);
  const points: string[] = [];
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const point = line.split(' ')[4]?.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
    if (point === path || point?.startsWith(`${path}/`)) points.push(point);
  }
  return points.reverse();
}

/** Removes the directories of processes that were killed before they could. */
async function removeAbandoned(parent: string, name: string): Promise<void> {
  for (const entry of await readdir(parent)) {
    const pid = entry.startsWith(`${name}-`) ? /^(\d+)-\w{6}$/.exec(entry.slice(name.length + 1))?.[1] : undefined;
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await endKeepers(join(parent, entry));
    await unmountBelow(join(parent, entry));
    await rm(join(parent, entry), { recursive: true, force: true });
  }
}

/** Ends what daemons that were killed left behind for their next life. */
export async function endKeepers(path: string): Promise<void> {
  for (const pid of await keepersBelow(path)) process.kill(pid, 'SIGKILL');
}

/** The pids of the keepers of daemons with a root below `path`. */
export async function keepersBelow(path: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return pids.filter((_, i) => lines[i]!.includes(`\0lazypull-keeper\0${path}/`)).map(Number);
}

/** Unmounts everything at and below `path`, the innermost first. */
export async function unmountBelow(path: string): Promise<void> {
  for (const point of await mountsBelow(path)) {
    for (const how of [[], ['--lazy']]) {
      if (!(await mountsBelow(point)).includes(point)) break;
      await tryRun('umount', ['--no-canonicalize', ...how, point]);
    }
  }
}

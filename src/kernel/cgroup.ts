import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What the control groups of this process allow; undefined for no limit. */
export interface CgroupLimits {
  /** Bytes of memory, including the page cache of what it writes. */
  readonly memoryBytes: number | undefined;
  /** Threads that may be started in addition to the present ones. */
  readonly newThreads: number | undefined;
}

/** Version 1 says by a larger number that there is no limit. */
const noLimit = 2 ** 60;

/**
 * Reads the limits of control groups, of version 1 and 2. Each is the smallest on the way to the visible root
 * (cgroups(7)).
 *
 * @param self directory of the process in proc(5)
 */
export function cgroupLimits(self = '/proc/self'): CgroupLimits {
  const memory = [
    ...directories(self, 'memory').map((directory) => numberIn(join(directory, 'memory.limit_in_bytes'))),
    ...directories(self, '').flatMap((directory) => [
      numberIn(join(directory, 'memory.max')),
      numberIn(join(directory, 'memory.high')),
    ]),
  ];
  const threads = [...directories(self, 'pids'), ...directories(self, '')].map((directory) => {
    const max = numberIn(join(directory, 'pids.max'));
    return max === undefined ? undefined : max - (numberIn(join(directory, 'pids.current')) ?? 0);
  });
  return { memoryBytes: smallest(memory), newThreads: smallest(threads) };
}

/** The directories of this process's group and of the visible groups above it; none if there is no such hierarchy. */
function directories(self: string, controller: string): string[] {
  const line = lines(join(self, 'cgroup')).find((each) => each.split(':')[1]?.split(',').includes(controller));
  const mount = lines(join(self, 'mountinfo')).find((each) => isMountOf(each, controller));
  if (line === undefined || mount === undefined) return [];
  const group = line.split(':').slice(2).join(':');
  const [, , , root = '/', point = ''] = mount.split(' ').map(unescaped);
  // In a container its own group can be the root of the mount: the groups above are not visible.
  const base = root === '/' ? '' : root;
  const below = group === base || group.startsWith(`${base}/`) ? group.slice(base.length) : '';
  const parts = below.split('/').filter((part) => part !== '' && part !== '..');
  return Array.from({ length: parts.length + 1 }, (_, i) => join(point, ...parts.slice(0, parts.length - i)));
}

function isMountOf(line: string, controller: string): boolean {
  const [type, , options = ''] = (line.split(' - ')[1] ?? '').split(' ');
  return controller === '' ? type === 'cgroup2' : type === 'cgroup' && options.split(',').includes(controller);
}

/** Decodes a path as proc(5) writes it. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

function numberIn(path: string): number | undefined {
  const [text = ''] = lines(path);
  const value = /^\d+$/.test(text) ? Number(text) : undefined;
  return value === undefined || value >= noLimit ? undefined : value;
}

function lines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return [];
  }
}

function smallest(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

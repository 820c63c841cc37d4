import { readFileSync } from 'node:fs';
import { lacksOf, type Machine } from '../kernel/probe.ts';
import { openZlib, type Zlib } from '../kernel/zlib.ts';
import { type CheckResult, right, warning, wrong } from './check-result.ts';

/** Linux versions since which something works better. */
const versions = { keepsReaders: [6, 9], mountsFiles: [6, 12] } as const;

/** How many more mounts must be possible: a layer is one, and a container at least one more. */
const minFreeMounts = 2_000;

/**
 * How long a reader may have to wait for a registry, with all tries. If that is longer than the kernel allows, the FUSE
 * connection ends.
 */
const maxReadSeconds = 600;

/** Checks the user, /dev/fuse, the kernel and its settings, and zlib. If the user cannot mount, it says only that. */
export function checkMachine(machine: Machine): CheckResult[] {
  const lacks = lacksOf(machine).map(({ name, text, advice }) => wrong(name, text, advice));
  if (lacks.some(({ name }) => name === 'user')) return lacks;
  const found = (name: string, text: string): CheckResult[] =>
    lacks.some((lack) => lack.name === name) ? [] : [right(name, text)];
  return [
    right('user', 'root'),
    ...found('/dev/fuse', 'can be opened'),
    ...lacks,
    checkKernel(machine.release),
    checkZlib(openZlib()),
    ...checkSettings(readSetting),
  ];
}

/** @param release as uname(2) has it */
export function checkKernel(release: string): CheckResult {
  const name = 'kernel';
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  const isFrom = ([x, y]: readonly [number, number]): boolean =>
    Number(major) > x || (Number(major) === x && Number(minor) >= y);
  if (isFrom(versions.mountsFiles)) return right(name, `Linux ${release}`);
  const loops = 'layers are mounted through loop devices before Linux 6.12';
  if (isFrom(versions.keepsReaders)) return right(name, `Linux ${release}: ${loops}`);
  const text = `Linux ${release}: readers get errors when the daemon is killed or replaced before Linux 6.9, and ${loops}`;
  return warning(name, text, 'use a newer kernel if readers must not notice a restart');
}

/** @param zlib the result of `openZlib` */
export function checkZlib(zlib: Pick<Zlib, 'origin' | 'version'> | undefined): CheckResult {
  if (zlib !== undefined) return right('zlib', `${zlib.version} of ${zlib.origin === 'node' ? 'Node' : zlib.origin}`);
  const text = 'cannot be called: no index is made of a gzip layer, so that it is pulled each time';
  return warning('zlib', text, 'install zlib (libz.so.1), or use a Node from nodejs.org, which has it');
}

/** @param read the text of a file below /proc, or undefined if it is not there */
export function checkSettings(read: (path: string) => string | undefined): CheckResult[] {
  const results: CheckResult[] = [];
  for (const key of ['default_request_timeout', 'max_request_timeout']) {
    const seconds = Number(read(`/proc/sys/fs/fuse/${key}`) ?? 0);
    if (seconds === 0 || seconds > maxReadSeconds) continue;
    const text = `a read gets an error if it takes longer than ${seconds} s, as it may with a registry that is slow or down`;
    results.push(warning(`fs.fuse.${key}`, text, `run "sysctl -w fs.fuse.${key}=0" before the daemon starts`));
  }
  const most = Number(read('/proc/sys/fs/mount-max') ?? Infinity);
  const mounts = (read('/proc/self/mountinfo') ?? '').split('\n').length - 1;
  if (most - mounts < minFreeMounts) {
    const text = `${mounts} of ${most} mounts are there, and every layer is one more`;
    results.push(warning('fs.mount-max', text, 'run "sysctl -w fs.mount-max=100000"'));
  }
  return results;
}

function readSetting(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

import type { Random } from '../fuzz/random.ts';
import type { Cgroup } from '../support/cgroup.ts';

/** How a daemon is started: what stands before its command line, and what is added to it. */
export interface Manner {
  readonly name: string;
  readonly launcher: readonly string[];
  readonly flags: readonly string[];
}

export const ordinary: Manner = { name: '', launcher: [], flags: [] };

/** Of so many starts one has its log, its root or its memory otherwise. */
const oneIn = 3;

/** Runs a command with its outputs at a pipe whose reader ends after a few lines. */
const closedPipe = ['bash', '-c', 'exec "$0" "$@" > >(head -c 1000 > /dev/null) 2>&1'];

/** Runs a command with its outputs on a disk that is full. */
const fullDisk = ['bash', '-c', 'exec "$0" "$@" > /dev/full 2>&1'];

/**
 * One of the ways to start a daemon.
 *
 * @param data where its root, a symlink, leads
 * @param group a control group with little memory; undefined if none can be made
 */
export function chooseManner(random: Random, data: string, group: Cgroup | undefined): Manner {
  if (random.below(oneIn) > 0) return ordinary;
  const root = ['--root', data];
  const manners: Manner[] = [
    { name: ' with the real path of its root', launcher: [], flags: root },
    { name: ' with a log that nobody reads', launcher: closedPipe, flags: [] },
    { name: ' with a log on a full disk and the real path of its root', launcher: fullDisk, flags: root },
  ];
  if (group !== undefined) manners.push({ name: ' with little memory', launcher: group.launcher, flags: [] });
  return random.pick(manners);
}

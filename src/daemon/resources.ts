import { setFlagsFromString } from 'node:v8';
import { LazypullError, messageOf } from '../errors.ts';
import { cgroupLimits } from '../kernel/cgroup.ts';
import { raiseOpenFiles } from '../kernel/open-files.ts';
import { ampleMemory, memoryBudget } from '../layers/memory-budget.ts';
import type { Log } from '../log.ts';

/**
 * Open files: how many a daemon wants, how many serve an image or two, and below which it does not get far. Each layer
 * takes three.
 */
const wantedFiles = 65_536;
const fewFiles = 1024;
const leastFiles = 128;

/** Threads and processes: the daemon has some 20 of them, its helpers 10, and a few more come and go. */
const leastThreads = 48;

/** Memory, including the page cache of what is being written. */
const mib = 1 << 20;
const littleMemoryBytes = 256 * mib;
const leastMemoryBytes = 128 * mib;

/**
 * How much garbage V8 lets pile up on each heap before it collects, in percent of what is in use. The launcher's value
 * is for speed.
 */
const smallGrowthPercent = 30;

const howToOpenMore =
  'set LimitNOFILE= in the unit of systemd, "ulimit -n" in the shell, or --ulimit nofile= of the container';
const howToStartMore = 'set TasksMax= in the unit of systemd, or --pids-limit of the container';
const howToHaveMore = 'set MemoryMax= in the unit of systemd, or --memory of the container';

/** What the machine lets the daemon have. */
export interface Resources {
  /** The limit on the memory of its control group; undefined if there is none. */
  readonly memoryBytes: number | undefined;
}

/**
 * Finds out the limits of this process, and raises the number of open files as far as possible.
 *
 * @throws FailedPrecondition, which says what to set, if a daemon cannot run with the limits
 */
export function claimResources(log: Log): Resources {
  const files = openFiles(log);
  const { memoryBytes, newThreads } = cgroupLimits();
  const missing = [
    ...(files < leastFiles ? [`it may have ${files} files open and needs ${leastFiles}: ${howToOpenMore}`] : []),
    ...(newThreads !== undefined && newThreads < leastThreads
      ? [`it may start ${newThreads} more threads and processes and needs ${leastThreads}: ${howToStartMore}`]
      : []),
    ...(memoryBytes !== undefined && memoryBytes < leastMemoryBytes
      ? [`it may have ${mebibytes(memoryBytes)} of memory and needs ${mebibytes(littleMemoryBytes)}: ${howToHaveMore}`]
      : []),
  ];
  if (missing.length > 0) {
    throw new LazypullError('FailedPrecondition', `Cannot run the daemon: ${missing.join('; ')}`, { hint: '' });
  }
  if (files < fewFiles) log.warn({ files }, `Few files may be open, and each layer takes three: ${howToOpenMore}`);
  if (memoryBytes !== undefined && memoryBytes < littleMemoryBytes) {
    const text = `The control group has little memory: large layers are not lazy, and below ${mebibytes(littleMemoryBytes)} the kernel may kill the daemon; ${howToHaveMore}`;
    log.warn({ memory: mebibytes(memoryBytes) }, text);
  }
  if (memoryBudget(memoryBytes) !== ampleMemory) setFlagsFromString(`--heap-growing-percent=${smallGrowthPercent}`);
  return { memoryBytes };
}

function openFiles(log: Log): number {
  try {
    return raiseOpenFiles(wantedFiles);
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'cannot raise the number of files that may be open');
    return wantedFiles;
  }
}

function mebibytes(bytes: number): string {
  return `${Math.floor(bytes / mib)} MiB`;
}

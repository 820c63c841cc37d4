import { closeSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';

/** Numbers of system calls; those since Linux 5.0 are the same on all architectures. */
const pidfdOpen = 434;
const pidfdGetfd = 438;

/** Of the flags in /proc/PID/stat: the process has begun to end. */
const PF_EXITING = 0x4;

/** Of the flags in /proc/net/unix: the socket listens (`__SO_ACCEPTCON`). */
const acceptsConnections = 0x10000;

/** Of the "pending signals" in /proc/PID/status. */
const killBit = 1n << 8n;

const call = syscall<[number, number, number, number]>('syscall', 'long syscall(long number, long a, long b, long c)');

/** A process, told apart from a later one with the same pid by the time at which it started. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since the boot, proc_pid_stat(5). */
  readonly startTicks: number;
}

/**
 * Which process `pid` is; undefined when there is none, or when it has ended and only waits for its parent. Throws a
 * system error if that cannot be seen.
 */
export function identityOf(pid: number): ProcessIdentity | undefined {
  const fields = statOf(pid);
  if (fields === undefined || fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return { pid, startTicks: Number(fields[19]) };
}

/** Whether this process has a controlling terminal. It loses it when the terminal is closed. */
export function hasTerminal(): boolean {
  return Number(statOf(process.pid)?.[4] ?? 0) !== 0;
}

/** The name of a process as ps(1) shows it; '?' when it cannot be read. */
export function commandOf(pid: number): string {
  return readOrUndefined(`/proc/${pid}/comm`)?.trimEnd() ?? '?';
}

/**
 * Whether it has not ended. Where that cannot be seen, for want of a descriptor, a process of that pid is taken for it.
 */
export function isRunning({ pid, startTicks }: ProcessIdentity): boolean {
  try {
    const found = identityOf(pid);
    return found !== undefined && found.startTicks === startTicks;
  } catch {
    return exists(pid);
  }
}

/**
 * Whether a process has been killed and is not gone yet, because the kernel waits for something in one of its threads.
 * It runs none of its program any more. So is one that ends by itself. False when there is no such process, or that
 * cannot be seen.
 */
export function isDying(pid: number): boolean {
  let fields: string[] | undefined;
  try {
    fields = statOf(pid);
  } catch {
    return false;
  }
  const [state, , , , , , flags] = fields ?? [];
  if (state === undefined) return false;
  return (
    state === 'Z' ||
    state === 'X' ||
    (Number(flags) & PF_EXITING) !== 0 ||
    (BigInt(`0x${pendingSignals(pid)}`) & killBit) !== 0n
  );
}

/**
 * Whether the process has the file open, by whatever path: a bind mount gives it several. False for one that is dying:
 * nothing of it can be seen then. Files of other names are not looked at, as looking at one of a file system that is
 * not served waits.
 */
export function hasOpen(pid: number, path: string): boolean {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    const name = basename(realpathSync(path));
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      const link = `/proc/${pid}/fd/${fd}`;
      if (basename(linkOf(link) ?? '') !== name) return false;
      const stats = statSync(link, { bigint: true, throwIfNoEntry: false });
      return stats?.dev === dev && stats.ino === ino;
    });
  } catch {
    return false;
  }
}

/** The processes that this pid namespace has, in the order of their ids. */
export function processIds(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

/** The command line of a process, each word with a NUL behind it; '' if it cannot be read. */
export function commandLineOf(pid: number): string {
  return readOrUndefined(`/proc/${pid}/cmdline`) ?? '';
}

/** What a process calls itself in its own pid namespace; undefined if it cannot be seen. */
export function innerPid(pid: number): number | undefined {
  const numbers = /^NSpid:\s+(.*)$/m.exec(readOrUndefined(`/proc/${pid}/status`) ?? '')?.[1]?.split(/\s+/);
  return numbers === undefined ? undefined : Number(numbers.at(-1));
}

/**
 * The paths of the files, and the names of the sockets ("socket:[INODE]"), that a process has open; none if that cannot
 * be seen.
 */
export function openFiles(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => linkOf(`/proc/${pid}/fd/${fd}`) ?? []);
  } catch {
    return [];
  }
}

/**
 * The paths of the unix sockets at which a process listens, in the order of their descriptors; none if that cannot be
 * seen.
 */
export function listeningPaths(pid: number): string[] {
  const paths = new Map<string, string>();
  for (const line of (readOrUndefined(`/proc/${pid}/net/unix`) ?? '').split('\n').slice(1)) {
    const [, , , flags = '', , , inode = '', path = ''] = line.trim().split(/ +/);
    if ((parseInt(flags, 16) & acceptsConnections) !== 0 && path.startsWith('/')) paths.set(`socket:[${inode}]`, path);
  }
  return [...new Set(openFiles(pid).flatMap((file) => paths.get(file) ?? []))];
}

/** A variable of the environment that a process was started with; undefined if it has none, or that cannot be seen. */
export function variableOf(pid: number, name: string): string | undefined {
  const all = (readOrUndefined(`/proc/${pid}/environ`) ?? '').split('\0');
  return all.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
}

/**
 * The last part of the path of a process's control group: under systemd the name of its unit. '' if that cannot be
 * seen.
 */
export function controlGroupOf(pid: number): string {
  return /^0::.*\/([^/\n]*)$/m.exec(readOrUndefined(`/proc/${pid}/cgroup`) ?? '')?.[1] ?? '';
}

/**
 * Duplicates descriptor `fd` of another process, with its open file, as pidfd_getfd(2) does (Linux 5.6).
 *
 * @returns the descriptor, which no program that we start inherits
 * @throws a system error: ESRCH or EBADF when the process or the descriptor is not there, EPERM without CAP_SYS_PTRACE
 */
export async function takeDescriptor(pid: number, fd: number): Promise<number> {
  const pidfd = await call(pidfdOpen, pid, 0, 0);
  try {
    return await call(pidfdGetfd, pidfd, fd, 0);
  } finally {
    closeSync(pidfd);
  }
}

/** The fields of /proc/PID/stat from the state on, which is the third; undefined if there is no such process. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}

function pendingSignals(pid: number): string {
  const status = readOrUndefined(`/proc/${pid}/status`) ?? '';
  return /^SigPnd:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
}

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

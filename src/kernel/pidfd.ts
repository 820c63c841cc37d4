import { closeSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';

/** Numbers of system calls; those since Linux 5.0 are the same on all architectures. */
const pidfdOpen = 434;
const pidfdGetfd = 438;

/** A flag in /proc/PID/stat: the process has begun to end. */
const PF_EXITING = 0x4;

/** A flag in /proc/net/unix: the socket listens (`__SO_ACCEPTCON`). */
const acceptsConnections = 0x10000;

/** A bit of the "pending signals" in /proc/PID/status. */
const killBit = 1n << 8n;

const call = syscall<[number, number, number, number]>('syscall', 'long syscall(long number, long a, long b, long c)');

/** A process. Its start time tells it apart from a later one with the same pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since the boot, proc_pid_stat(5). */
  readonly startTicks: number;
}

/**
 * The process with a pid; undefined if there is none, or if it has ended and only waits for its parent. Throws a system
 * error if that cannot be seen.
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

/** The name of a process as ps(1) shows it; '?' if it cannot be read. */
export function commandOf(pid: number): string {
  return readOrUndefined(`/proc/${pid}/comm`)?.trimEnd() ?? '?';
}

/**
 * Whether the process has not ended. If that cannot be seen, for want of a descriptor, a process with that pid counts
 * as it.
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
 * It runs none of its program any more. The same holds for a process that is ending by itself. False if there is no
 * such process, or if that cannot be seen.
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
 * Whether the process has the file open, by any path: bind mounts give a file several. False for a dying process, of
 * which nothing can be seen. Files with other names are not looked at: looking at a file of an unserved file system
 * waits.
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

/** The processes of this pid namespace, in the order of their ids. */
export function processIds(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

/** The command line of a process, with a NUL after each word; '' if it cannot be read. */
export function commandLineOf(pid: number): string {
  return readOrUndefined(`/proc/${pid}/cmdline`) ?? '';
}

/** The pid of a process in its own pid namespace; undefined if it cannot be seen. */
export function innerPid(pid: number): number | undefined {
  const numbers = /^NSpid:\s+(.*)$/m.exec(readOrUndefined(`/proc/${pid}/status`) ?? '')?.[1]?.split(/\s+/);
  return numbers === undefined ? undefined : Number(numbers.at(-1));
}

/**
 * The paths of the open files, and the names of the sockets ("socket:[INODE]"), of a process; none if that cannot be
 * seen.
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

/** A variable of the initial environment of a process; undefined if it does not exist, or if that cannot be seen. */
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
 * @throws a system error: ESRCH or EBADF if the process or the descriptor does not exist, EPERM without CAP_SYS_PTRACE
 */
export async function takeDescriptor(pid: number, fd: number): Promise<number> {
  const pidfd = await call(pidfdOpen, pid, 0, 0);
  try {
    return await call(pidfdGetfd, pidfd, fd, 0);
  } finally {
    closeSync(pidfd);
  }
}

/** The fields of /proc/PID/stat from the state, which is the third, on; undefined if there is no such process. */
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

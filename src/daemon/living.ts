import { basename, dirname, join, resolve } from 'node:path';
import { codeOf } from '../errors.ts';
import { readOwnFile } from '../kernel/own-file.ts';
import { commandLineOf, hasOpen, innerPid, listeningPaths, openFiles, processIds } from '../kernel/pidfd.ts';
import { listenerPid } from '../kernel/unix-socket.ts';

/** A running daemon. */
export interface LivingDaemon {
  readonly pid: number;
  readonly root: string;
  /** The sockets at which it listens; none while it starts. */
  readonly addresses: readonly string[];
}

/** The daemon that has a root directory; undefined if none does, or if that cannot be seen. */
export function daemonOfRoot(root: string): LivingDaemon | undefined {
  const lock = join(root, 'lock');
  const pid = ownerOf(lock);
  if (pid === undefined || !hasOpen(pid, lock)) return undefined;
  return { pid, root: resolve(root), addresses: listeningPaths(pid) };
}

/**
 * The daemon that listens at a socket. Undefined if none does, or if its root cannot be found: it may be another
 * program, in another pid namespace, or of another user. A socket of a service manager belongs to the manager, so its
 * daemon is found by its root only.
 *
 * @throws Unavailable if we may not connect
 */
export async function daemonAt(address: string): Promise<LivingDaemon | undefined> {
  const pid = await listenerPid(address);
  if (pid === undefined || pid === 0) return undefined;
  return daemonOf(pid);
}

/** All daemons on this machine that can be seen. */
export function livingDaemons(): LivingDaemon[] {
  return processIds()
    .filter((pid) => programs.test(commandLineOf(pid)))
    .flatMap((pid) => daemonOf(pid) ?? [])
    .filter(({ addresses }) => addresses.length > 0);
}

/** Matches the command line of a daemon. */
const programs = /(^|[\0/])(lazypull|containerd-stargz-grpc)\.[jt]s\0/;

/** The daemon of a process, if the process has the lock of a root. */
function daemonOf(pid: number): LivingDaemon | undefined {
  const inside = innerPid(pid);
  const lock = openFiles(pid).find((path) => basename(path) === 'lock' && ownerOf(path) === inside);
  return lock === undefined ? undefined : { pid, root: dirname(lock), addresses: listeningPaths(pid) };
}

/** Whether a socket is served; undefined if we may not connect to it. */
export async function isServed(address: string): Promise<boolean | undefined> {
  try {
    return (await listenerPid(address)) !== undefined;
  } catch (error) {
    return codeOf(error) === 'Unavailable' ? undefined : false;
  }
}

/**
 * The process that a daemon wrote into its lock; undefined if there is none, or if it is a command that has the root
 * only briefly.
 */
function ownerOf(lock: string): number | undefined {
  try {
    const [, pid] = /^([0-9]{1,10})\s*$/.exec(readOwnFile(lock)) ?? [];
    return pid === undefined ? undefined : Number(pid);
  } catch {
    return undefined;
  }
}

import { closeSync, lstatSync, mkdirSync, type Stats, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, LazypullError } from '../errors.ts';
import { isListening, listenAt, listenerPid } from '../kernel/unix-socket.ts';
import { checkOnlyOursIn } from './ownership.ts';

/** A unix socket that listens, and the file by which clients find it. */
export interface ListeningSocket {
  readonly fd: number;
  readonly path: string;
  /** Of the file. */
  readonly device: number;
  readonly inode: number;
}

/** The first descriptor that a service manager passes, sd_listen_fds(3). */
const firstPassedDescriptor = 3;

/** Listens at `path`, where nothing may be, for the owner alone. */
export async function openSocket(path: string): Promise<ListeningSocket> {
  const fd = await listenAt(path);
  const { dev, ino } = lstatSync(path);
  return { fd, path, device: dev, inode: ino };
}

/** The socket of an earlier life, if it is the one that clients reach at `path`; else it is closed, with its file, and undefined. */
export function keptSocket(socket: ListeningSocket | undefined, path: string): ListeningSocket | undefined {
  if (socket === undefined) return undefined;
  if (socket.path === path && isReachable(socket)) return socket;
  removeSocket(socket);
  closeSync(socket.fd);
  return undefined;
}

/** Removes the file of a socket, unless another one has taken its place. */
export function removeSocket(socket: ListeningSocket): void {
  if (isReachable(socket)) unlinkSync(socket.path);
}

/**
 * The listening socket that the service manager passed to this process, as sd_listen_fds(3) has it; undefined where it passed none.
 *
 * @throws FailedPrecondition when it passed something else
 */
export async function passedSocket(env: NodeJS.ProcessEnv): Promise<number | undefined> {
  if (env.LISTEN_PID !== String(process.pid) || env.LISTEN_FDS === undefined) return undefined;
  if (env.LISTEN_FDS !== '1' || !(await isListening(firstPassedDescriptor))) {
    throw new LazypullError(
      'FailedPrecondition',
      'The service manager must pass one listening unix socket: see ListenStream= in the socket unit',
    );
  }
  return firstPassedDescriptor;
}

/**
 * Makes it possible to listen at the unix socket `path`: makes its directory, with mode 0700, and removes a socket that a dead process left.
 *
 * @throws FailedPrecondition that names the pid when a living process serves there, or when the file is not a socket, or where somebody else could
 * put a socket in its place
 */
export async function clearSocket(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  checkOnlyOursIn(dirname(path));
  const stats = statOrUndefined(path);
  if (stats === undefined) return;
  if (!stats.isSocket()) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot listen at "${path}": the file is not a socket; remove it or choose another --address`,
    );
  }
  const pid = await listenerPid(path);
  if (pid !== undefined) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot listen at "${path}": ${describe(pid)} already serves there; stop it or choose another --address`,
    );
  }
  unlinkSync(path);
}

function isReachable({ path, device, inode }: ListeningSocket): boolean {
  const stats = statOrUndefined(path);
  return stats !== undefined && stats.isSocket() && stats.dev === device && stats.ino === inode;
}

function statOrUndefined(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw new LazypullError('Unavailable', `Cannot look at "${path}"`, { cause: error });
  }
}

/** A pid of 0 is one that this pid namespace cannot name. */
function describe(pid: number): string {
  return pid === 0 ? 'a process of another pid namespace' : `process ${pid}`;
}

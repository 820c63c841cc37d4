import { lstatSync, type Stats, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, LazypullError } from '../errors.ts';
import { makeDirectory } from '../kernel/make-directory.ts';
import { boundPath, isListening, listenAt, listenerPid } from '../kernel/unix-socket.ts';
import { checkOnlyOursIn } from '../state/ownership.ts';

/** A listening unix socket, and the file by which clients find it. */
export interface ListeningSocket {
  readonly fd: number;
  readonly path: string;
  /** Of the file. */
  readonly device: number;
  readonly inode: number;
}

/** The first descriptor that a service manager passes, sd_listen_fds(3). */
const firstPassedDescriptor = 3;

/** More than a daemon has clients. */
const maxPassed = 64;

/** Listens at `path`, which must be free. Only the owner may connect. */
export async function openSocket(path: string): Promise<ListeningSocket> {
  const fd = await listenAt(path);
  const { dev, ino } = lstatSync(path);
  return { fd, path, device: dev, inode: ino };
}

/** Whether clients reach this socket at `path`. */
export function isReachableAt(socket: ListeningSocket, path: string): boolean {
  return socket.path === path && isReachable(socket);
}

/** Removes the file of a socket, unless another one has taken its place. */
export function removeSocket(socket: ListeningSocket): void {
  if (isReachable(socket)) unlinkSync(socket.path);
}

/** A listening socket that the service manager passed. */
export interface PassedSocket {
  readonly fd: number;
  /** FileDescriptorName= of its unit; '' if the manager does not tell. */
  readonly name: string;
  readonly path: string | undefined;
}

/**
 * The listening sockets that the service manager passed to this process (sd_listen_fds(3)); none if it passed none.
 *
 * @throws FailedPrecondition if it passed something else
 */
export async function passedSockets(env: NodeJS.ProcessEnv): Promise<PassedSocket[]> {
  if (env.LISTEN_PID !== String(process.pid) || env.LISTEN_FDS === undefined) return [];
  const count = Number(env.LISTEN_FDS);
  const names = (env.LISTEN_FDNAMES ?? '').split(':');
  const sockets: PassedSocket[] = [];
  if (!Number.isInteger(count) || count < 1 || count > maxPassed) throw notPassed();
  for (let i = 0; i < count; i++) {
    const fd = firstPassedDescriptor + i;
    if (!(await isListening(fd))) throw notPassed();
    sockets.push({ fd, name: names[i] ?? '', path: await boundPath(fd) });
  }
  return sockets;
}

function notPassed(): LazypullError {
  return new LazypullError(
    'FailedPrecondition',
    'The service manager must pass listening unix sockets and nothing else: see ListenStream= in the socket unit',
  );
}

/**
 * Prepares to listen at the unix socket `path`: makes its directory, with mode 0700, and removes a socket that a dead
 * process left.
 *
 * @throws FailedPrecondition that names the pid if a process serves there, or if the file is not a socket, or if
 * another user could replace the socket
 */
export async function clearSocket(path: string): Promise<void> {
  makeSocketDirectory(dirname(path));
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

/** A pid of 0 means that this pid namespace has no number for it. */
function describe(pid: number): string {
  return pid === 0 ? 'a process of another pid namespace' : `process ${pid}`;
}

function makeSocketDirectory(path: string): void {
  try {
    makeDirectory(path, 0o700);
  } catch (error) {
    const message = `Cannot make the directory "${path}" for the socket`;
    throw new LazypullError('Unavailable', message, { cause: error, hint: 'choose another --address' });
  }
}

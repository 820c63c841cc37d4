import { type Stats, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { LazypullError, errnoOf } from '../errors.ts';
import { listenerPid } from '../kernel/unix-socket.ts';

/**
 * Makes it possible to listen at the unix socket `path`: makes its directory, with mode 0700, and removes a socket that a dead process left.
 *
 * @throws FailedPrecondition that names the pid when a living process serves there, or when the file is not a socket
 */
export async function clearSocket(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
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

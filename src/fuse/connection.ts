import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { errnoOf, LazypullError, messageOf } from '../errors.ts';
import { mountFuse, mountTable } from '../kernel/mount.ts';
import type { Log } from '../log.ts';
import { resendNotification } from './abi.ts';

/** A connection to the kernel by which a mounted FUSE file system is served. */
export interface FuseConnection extends KeptConnection {
  readonly mountpoint: string;
  /** Whether an earlier life of the program mounted it. */
  readonly isInherited: boolean;
}

/** What of a connection can outlive the process that made it. */
export interface KeptConnection {
  /** An open descriptor of /dev/fuse. */
  readonly fd: number;
  /** The source that the mount table shows: no other mount has it. */
  readonly name: string;
}

const mountType = 'fuse.lazypull';

/** Mounts a new FUSE file system at an existing directory. */
export async function openConnection(mountpoint: string): Promise<FuseConnection> {
  let fd: number;
  try {
    fd = openSync('/dev/fuse', 'r+');
  } catch (error) {
    throw new LazypullError('FailedPrecondition', 'Cannot open /dev/fuse: load the fuse module (modprobe fuse)', {
      cause: error,
    });
  }
  const name = `lazypull-${randomBytes(8).toString('hex')}`;
  try {
    await mountFuse(fd, mountpoint, mountType, name);
    return { fd, name, mountpoint, isInherited: false };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Takes a connection over from a process that is dead: the kernel sends every request again that it left unanswered.
 *
 * @returns undefined, with the descriptor closed and the reason in the log, when it is not the one at `mountpoint`, or the kernel cannot send again
 */
export async function inheritConnection(
  mountpoint: string,
  kept: KeptConnection,
  log: Log,
): Promise<FuseConnection | undefined> {
  try {
    const mounted = (await mountTable(mountpoint)).filter(({ path }) => path === mountpoint);
    if (mounted.length !== 1 || mounted[0]!.type !== mountType || mounted[0]!.source !== kept.name) {
      throw new LazypullError('FailedPrecondition', `The file system at "${mountpoint}" is another one`);
    }
    writeSync(kept.fd, resendNotification());
    return { ...kept, mountpoint, isInherited: true };
  } catch (error) {
    const reason = errnoOf(error) === 'EINVAL' ? 'This kernel cannot send requests again: Linux 6.9 can' : error;
    log.warn({ mountpoint, error: messageOf(reason) }, 'cannot go on with the FUSE connection of a dead process');
    closeSync(kept.fd);
    return undefined;
  }
}

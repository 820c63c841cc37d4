import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { errnoOf, LazypullError, messageOf } from '../errors.ts';
import {
  abortDetached,
  abortServed,
  detachedCopy,
  isDisconnected,
  isServedBy,
  mountFuseDetached,
} from '../kernel/detached-mount.ts';
import { mountTable } from '../kernel/mount.ts';
import type { Log } from '../log.ts';
import { resendNotification } from './abi.ts';

/** A connection to the kernel that serves a FUSE file system, which is mounted in no directory. */
export interface FuseConnection {
  /** An open descriptor of /dev/fuse. */
  readonly fd: number;
  /** A descriptor of the file system's root directory: it keeps the mount alive, and leads to the files. */
  readonly root: number;
  /** A name that no other connection has. */
  readonly name: string;
  /** Whether an earlier life of the program mounted it. */
  readonly isInherited: boolean;
  /** Whether an old version made it and mounted it in a directory: layers may be mounted by a path there. */
  readonly wasAttached: boolean;
  /**
   * Every request must be answered in so many milliseconds, or the kernel may abort the connection. Undefined if the
   * kernel waits for ever.
   */
  readonly answerWithinMs?: number | undefined;
}

/**
 * The parts of a connection that can outlive the process that made it. `root` is undefined if an old version mounted it
 * in a directory.
 */
export interface HeldConnection extends Pick<FuseConnection, 'fd' | 'name'> {
  readonly root?: number | undefined;
  readonly wasAttached?: boolean | undefined;
  /**
   * As in `FuseConnection`, at the time when the connection was made; 0 if the kernel waits for ever. Undefined if an
   * old version has not recorded it.
   */
  readonly answerWithinMs?: number | undefined;
}

const device = '/dev/fuse';
const subtype = 'lazypull';

/**
 * Files below fs.fuse of sysctl(8): how many seconds requests may take, 0 for no limit. The kernel checks at intervals,
 * and treats shorter limits as that interval.
 */
const timeoutFiles = ['default_request_timeout', 'max_request_timeout'].map((name) => `/proc/sys/fs/fuse/${name}`);
const leastTimeoutSeconds = 15;

/** How long requests may wait in the kernel before they reach us. */
const marginMs = 3_000;
/** Mounts a new FUSE file system. */
export async function openConnection(): Promise<FuseConnection> {
  let fd: number;
  try {
    fd = openSync(device, 'r+');
  } catch (error) {
    throw new LazypullError('FailedPrecondition', 'Cannot open /dev/fuse: load the fuse module (modprobe fuse)', {
      cause: error,
    });
  }
  const name = `lazypull-${randomBytes(8).toString('hex')}`;
  try {
    const root = await mountFuseDetached(fd, subtype, name);
    return { fd, root, name, isInherited: false, wasAttached: false, answerWithinMs: answerWithinMs() };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Takes a connection over from a dead process: the kernel sends every request again that the process left unanswered.
 *
 * @param directory where an old version mounted it
 * @returns undefined if it is dead or another one, or if the kernel cannot send again; then the connection is aborted
 * and the reason is in the log
 */
export async function inheritConnection(
  directory: string,
  kept: HeldConnection,
  log: Log,
): Promise<FuseConnection | undefined> {
  let { root } = kept;
  const wasAttached = root === undefined || kept.wasAttached === true;
  try {
    if (fstatSync(kept.fd).rdev !== statSync(device).rdev)
      throw new LazypullError('FailedPrecondition', `It is not of ${device}`);
    if (isDisconnected(kept.fd)) throw new LazypullError('FailedPrecondition', 'It was aborted');
    root ??= await takeFrom(directory, kept.name);
    if (!(await isServedBy(root, kept.fd)))
      throw new LazypullError('FailedPrecondition', 'Its file system is another one');
    writeSync(kept.fd, resendNotification()); // throws if this kernel cannot do that
    const withinMs = kept.answerWithinMs === undefined ? answerWithinMs() : kept.answerWithinMs || undefined;
    return { fd: kept.fd, root, name: kept.name, isInherited: true, wasAttached, answerWithinMs: withinMs };
  } catch (error) {
    const reason = errnoOf(error) === 'EINVAL' ? 'This kernel cannot send requests again: Linux 6.9 can' : error;
    log.warn({ error: messageOf(reason) }, 'cannot take over the FUSE connection of a process that ended');
    // It is dead already, or dies when no process holds it.
    await abortServed(kept.fd).catch(() => undefined);
    if (root !== undefined) {
      await abortDetached(root).catch(() => undefined);
      closeSync(root);
    }
    closeSync(kept.fd);
    return undefined;
  }
}

/**
 * Has the kernel send every request again that was read and not answered: to be called once a dead process that served
 * the connection is gone as a whole. Until then one of its threads may read a request that nothing answers. What we
 * have read ourselves comes twice, and only the second answer counts.
 */
export function resendRequests({ fd }: Pick<FuseConnection, 'fd'>): void {
  try {
    writeSync(fd, resendNotification());
  } catch (error) {
    if (errnoOf(error) !== 'ENODEV') throw error; // it has died meanwhile, which its reader notices
  }
}

/**
 * The root of a connection that an old version mounted in a directory. It stays there until the next life can find it
 * in another way.
 */
async function takeFrom(directory: string, name: string): Promise<number> {
  const mounted = (await mountTable(directory)).filter(({ path }) => path === directory);
  if (mounted.length !== 1 || mounted[0]!.type !== `fuse.${subtype}` || mounted[0]!.source !== name) {
    throw new LazypullError('FailedPrecondition', `The file system at "${directory}" is another one`);
  }
  return detachedCopy(directory);
}

function answerWithinMs(): number | undefined {
  const seconds = timeoutFiles.map(numberIn).filter((each) => each > 0);
  return seconds.length === 0 ? undefined : Math.max(leastTimeoutSeconds, Math.min(...seconds)) * 1000 - marginMs;
}

/** The number in a file; 0 if there is no such file: kernels before 6.15. */
function numberIn(path: string): number {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return 0;
  }
}

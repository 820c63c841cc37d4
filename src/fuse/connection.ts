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

/** A connection to the kernel by which a FUSE file system is served that is mounted in no directory. */
export interface FuseConnection {
  /** An open descriptor of /dev/fuse. */
  readonly fd: number;
  /** A descriptor of the file system's root directory: it is the mount, and the way to the files. */
  readonly root: number;
  /** No other connection has this name. */
  readonly name: string;
  /** Whether an earlier life of the program mounted it. */
  readonly isInherited: boolean;
  /** Whether a version has made it that mounted it in a directory: layers may be mounted by a path there. */
  readonly wasAttached: boolean;
  /**
   * Whatever is asked is to be answered in so many milliseconds, or the kernel may abort the connection; undefined if
   * it waits for ever.
   */
  readonly answerWithinMs?: number | undefined;
}

/**
 * What of a connection can outlive the process that made it. `root` is undefined for one of a version that mounted it
 * in a directory.
 */
export interface KeptConnection extends Pick<FuseConnection, 'fd' | 'name'> {
  readonly root?: number | undefined;
  readonly wasAttached?: boolean | undefined;
  /**
   * As that of `FuseConnection`, 0 if the kernel waits for ever: it is that of the time when the connection was made.
   * Undefined if a version has not written it down.
   */
  readonly answerWithinMs?: number | undefined;
}

const device = '/dev/fuse';
const subtype = 'lazypull';

/**
 * fs.fuse in sysctl(8): how long requests may take in seconds, 0 for as long as they do. The kernel looks in so long a
 * time, and calls nothing shorter too long.
 */
const timeoutFiles = ['default_request_timeout', 'max_request_timeout'].map((name) => `/proc/sys/fs/fuse/${name}`);
const leastTimeoutSeconds = 15;

/** What requests may wait in the kernel before they come to us. */
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
 * Takes a connection over from a process that is dead: the kernel sends every request again that it left unanswered.
 *
 * @param directory where a version mounted it that did so
 * @returns undefined, with the connection aborted and the reason in the log, when it is dead or another one, or the
 * kernel cannot send again
 */
export async function inheritConnection(
  directory: string,
  kept: KeptConnection,
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
    writeSync(kept.fd, resendNotification());
    const withinMs = kept.answerWithinMs === undefined ? answerWithinMs() : kept.answerWithinMs || undefined;
    return { fd: kept.fd, root, name: kept.name, isInherited: true, wasAttached, answerWithinMs: withinMs };
  } catch (error) {
    const reason = errnoOf(error) === 'EINVAL' ? 'This kernel cannot send requests again: Linux 6.9 can' : error;
    log.warn({ error: messageOf(reason) }, 'cannot go on with the FUSE connection of a dead process');
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
 * The root of a connection that a version mounted in a directory, where it stays until the next life can find it
 * otherwise.
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

/** 0 if there is no such file: kernels before 6.15. */
function numberIn(path: string): number {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return 0;
  }
}

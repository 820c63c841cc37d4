import { closeSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LazypullError } from '../errors.ts';
import { syscall, syscallNow } from './libc.ts';
import { deviceOf } from './statx.ts';

/** Numbers of system calls, the same on all architectures (Linux 5.2). */
const openTree = 428;
const fsopen = 430;
const fsconfig = 431;
const fsmount = 432;

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOUNT_ATTR_NOSUID = 2;
const MOUNT_ATTR_NODEV = 4;
const AT_FDCWD = -100;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;

const call = syscall<[number, number, number, number]>('syscall', 'long syscall(long number, long a, long b, long c)');
const callWithName = syscall<[number, string, number]>('syscall', 'long syscall(long number, const char *a, long b)');
const callWithPath = syscall<[number, number, string, number]>(
  'syscall',
  'long syscall(long number, long a, const char *b, long c)',
);
const callWithOption = syscall<[number, number, number, string | null, string | null, number]>(
  'syscall',
  'long syscall(long number, long a, long b, const char *c, const char *d, long e)',
);
const poll = syscallNow<[Buffer, number, number]>('poll', 'int poll(void *fds, unsigned long count, int timeout)');

const POLLERR = 8;

/**
 * Mounts a FUSE file system on an open descriptor of /dev/fuse, in no directory: it is in no mount table, and only a
 * process with its descriptor meets it.
 *
 * @param fuse the descriptor of /dev/fuse; it stays the caller's
 * @param subtype, source what the kernel shows for it
 * @returns a descriptor of its root directory. The mount lives as long as a duplicate of that, or a file of it, is open
 */
export async function mountFuseDetached(fuse: number, subtype: string, source: string): Promise<number> {
  const options = [
    ['source', source],
    ['subtype', subtype],
    ['fd', String(fuse)],
    ['rootmode', '40000'],
    ['user_id', '0'],
    ['group_id', '0'],
  ] as const;
  try {
    return await mountDetached('fuse', options, ['allow_other']);
  } catch (error) {
    throw new LazypullError('Unavailable', 'Cannot mount FUSE', { cause: error });
  }
}

async function mountDetached(
  type: string,
  options: readonly (readonly [string, string])[] = [],
  flags: readonly string[] = [],
): Promise<number> {
  const context = await callWithName(fsopen, type, FSOPEN_CLOEXEC);
  try {
    for (const [key, value] of options) await callWithOption(fsconfig, context, FSCONFIG_SET_STRING, key, value, 0);
    for (const flag of flags) await callWithOption(fsconfig, context, FSCONFIG_SET_FLAG, flag, null, 0);
    await callWithOption(fsconfig, context, FSCONFIG_CMD_CREATE, null, null, 0);
    return await call(fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  } finally {
    closeSync(context);
  }
}

/**
 * Makes a second mount, in no directory, of the file system that is mounted at `target`. Does not wait for its server.
 *
 * @returns a descriptor as `mountFuseDetached`
 */
export async function detachedCopy(target: string): Promise<number> {
  return callWithPath(openTree, AT_FDCWD, target, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/** The path by which a process finds a directory that it has a descriptor of, even if it is in no mount table. */
export function pathOf(descriptor: number): string {
  return `/proc/self/fd/${descriptor}`;
}

/**
 * Whether a FUSE connection is dead: aborted, or without a file system. Does not wait. @param fuse a descriptor of
 * /dev/fuse that was mounted
 */
export function isDisconnected(fuse: number): boolean {
  const polled = Buffer.alloc(8); // struct pollfd
  polled.writeInt32LE(fuse);
  poll(polled, 1, 0);
  return (polled.readInt16LE(6) & POLLERR) !== 0;
}

/**
 * Whether a descriptor is of the file system that a descriptor of /dev/fuse serves. Does not wait. Kernels before 6.15
 * do not tell which one it serves: there any FUSE file system passes.
 */
export async function isServedBy(root: number, fuse: number): Promise<boolean> {
  const { major, minor } = deviceOf(root);
  if (major !== 0) return false;
  const connection = connectionOf(fuse);
  return connection === undefined
    ? inFuseControl((path) => existsSync(join(path, String(minor))))
    : connection === minor;
}

/**
 * Makes all that wait for a FUSE file system, or use it from now on, get an error, even if its server can be reached no
 * more.
 *
 * @param root a descriptor of its root directory
 */
export async function abortDetached(root: number): Promise<void> {
  const { major, minor } = deviceOf(root);
  if (major === 0) await abortConnection(minor);
}

/**
 * As `abortDetached`, by a descriptor of /dev/fuse. Does nothing if the kernel does not tell which file system it
 * serves.
 */
export async function abortServed(fuse: number): Promise<void> {
  const connection = connectionOf(fuse);
  if (connection !== undefined) await abortConnection(connection);
}

async function abortConnection(connection: number): Promise<void> {
  await inFuseControl((path) => writeFileSync(join(path, String(connection), 'abort'), '1'));
}

/** Works with fusectl, which need not be mounted at /sys/fs/fuse/connections. */
async function inFuseControl<T>(action: (path: string) => T): Promise<T> {
  const control = await mountDetached('fusectl');
  try {
    return action(pathOf(control));
  } finally {
    closeSync(control);
  }
}

/**
 * The number of a connection, which is the minor number of its file system's device; undefined if the kernel does not
 * tell.
 */
function connectionOf(fuse: number): number | undefined {
  const text = readFileSync(`/proc/self/fdinfo/${fuse}`, 'utf8');
  const found = /^fuse_connection:\s*(\d+)$/m.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

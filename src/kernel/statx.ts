import { closeSync } from 'node:fs';
import { errnoOf } from '../errors.ts';
import { syscallNow } from './libc.ts';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_MNT_ID = 0x1000;
const STATX_MNT_ID_UNIQUE = 0x4000;
const mountMask = STATX_MNT_ID | STATX_MNT_ID_UNIQUE;

/** sizeof(struct statx), and the offsets of its members. */
const statxBytes = 256;
const devMajorAt = 136;
const devMinorAt = 140;
const mountIdAt = 144;

const statx = syscallNow<[number, string, number, number, Buffer]>(
  'statx',
  'int statx(int directory, const char *path, int flags, unsigned int mask, void *buffer)',
);

/**
 * Which mount a directory is on, as a text that no other mount has: since Linux 6.8 none in this boot, before that none
 * of the present ones. Asks no file system for anything that it would have to wait for.
 *
 * @returns undefined if there is no such directory, or if it cannot be looked at
 */
export function mountAt(directory: string): string | undefined {
  try {
    const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
    return mountIn(look(AT_FDCWD, directory, flags, mountMask));
  } catch {
    return undefined;
  }
}

/**
 * openat2(2), which has this number on all architectures, and its arguments: two flags of open, and a struct open_how
 * that says what path lookup may do.
 */
const openat2 = 437;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const RESOLVE_CACHED = 0x20;
const openHowBytes = 24;
const cachedPath = Buffer.alloc(openHowBytes);
cachedPath.writeBigUInt64LE(BigInt(O_PATH | O_CLOEXEC), 0);
cachedPath.writeBigUInt64LE(BigInt(RESOLVE_CACHED), 16);

/** A lookup in the cache sometimes fails because something else is mounted meanwhile. */
const maxLookups = 3;

const open = syscallNow<[number, number, string, Buffer, number]>(
  'syscall',
  'long syscall(long number, long directory, const char *path, const void *how, long bytes)',
);

/**
 * As `mountAt`, for a directory on a file system that would make us wait if the kernel had to ask it.
 *
 * @returns as `mountAt`; undefined too if the kernel would have to ask for the directory, or cannot look only in its
 * cache (before Linux 5.12)
 */
export function mountAtIfCached(directory: string): string | undefined {
  for (let lookups = 0; lookups < maxLookups; lookups++) {
    try {
      const descriptor = open(openat2, AT_FDCWD, directory, cachedPath, openHowBytes);
      try {
        return mountIn(look(descriptor, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, mountMask));
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN') return undefined;
    }
  }
  return undefined;
}

/** The device number of the file system of a descriptor. Does not wait for it. */
export function deviceOf(descriptor: number): { major: number; minor: number } {
  return deviceIn(look(descriptor, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0));
}

function look(directory: number, path: string, flags: number, mask: number): Buffer {
  const found = Buffer.alloc(statxBytes);
  statx(directory, path, flags, mask, found);
  return found;
}

function mountIn(found: Buffer): string {
  const { major, minor } = deviceIn(found);
  return `${found.readBigUInt64LE(mountIdAt)} ${major}:${minor}`;
}

function deviceIn(found: Buffer): { major: number; minor: number } {
  return { major: found.readUInt32LE(devMajorAt), minor: found.readUInt32LE(devMinorAt) };
}

import { syscallNow } from './libc.ts';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_MNT_ID = 0x1000;
const STATX_MNT_ID_UNIQUE = 0x4000;

/** sizeof(struct statx), and where its members are. */
const statxBytes = 256;
const devMajorAt = 136;
const devMinorAt = 140;
const mountIdAt = 144;

const statx = syscallNow<[number, string, number, number, Buffer]>(
  'statx',
  'int statx(int directory, const char *path, int flags, unsigned int mask, void *buffer)',
);

/**
 * Which mount a directory is on, as a text that no other mount has: since Linux 6.8 in this boot, before that among those that are there. Asks no file
 * system anything that it would have to wait for.
 *
 * @returns undefined where there is no such directory, or what is there cannot be looked at
 */
export function mountAt(directory: string): string | undefined {
  try {
    const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
    const found = look(AT_FDCWD, directory, flags, STATX_MNT_ID | STATX_MNT_ID_UNIQUE);
    const { major, minor } = deviceIn(found);
    return `${found.readBigUInt64LE(mountIdAt)} ${major}:${minor}`;
  } catch {
    return undefined;
  }
}

/** The device number of the file system that a descriptor is of. Does not wait for it. */
export function deviceOf(descriptor: number): { major: number; minor: number } {
  return deviceIn(look(descriptor, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0));
}

function look(directory: number, path: string, flags: number, mask: number): Buffer {
  const found = Buffer.alloc(statxBytes);
  statx(directory, path, flags, mask, found);
  return found;
}

function deviceIn(found: Buffer): { major: number; minor: number } {
  return { major: found.readUInt32LE(devMajorAt), minor: found.readUInt32LE(devMinorAt) };
}

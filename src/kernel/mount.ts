import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { LazypullError, errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';

const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MNT_DETACH = 2;

const mount2 = syscall<[string, string, string, number, string | null]>(
  'mount',
  'int mount(const char *source, const char *target, const char *fstype, unsigned long flags, const char *data)',
);
const umount2 = syscall<[string, number]>('umount2', 'int umount2(const char *target, int flags)');

/**
 * Mounts an EROFS image file read-only: from the file itself where the kernel can (Linux 6.12 and later), else through a loop device.
 *
 * @param source path of the image, a regular file
 * @param target an existing directory
 */
export async function mountErofs(source: string, target: string): Promise<void> {
  try {
    await mount2(source, target, 'erofs', MS_RDONLY, null);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTBLK') {
      throw new LazypullError('Unavailable', `Cannot mount the EROFS image "${source}" at "${target}"`, {
        cause: error,
      });
    }
    await promisify(execFile)('mount', ['-i', '-t', 'erofs', '-o', 'ro,loop', source, target]);
  }
}

/**
 * Mounts a FUSE file system on an open descriptor of /dev/fuse.
 *
 * @param fd the descriptor; it stays the caller's
 * @param target an existing directory
 */
export async function mountFuse(fd: number, target: string): Promise<void> {
  const data = `fd=${fd},rootmode=40000,user_id=0,group_id=0,allow_other`;
  try {
    await mount2('lazypull', target, 'fuse.lazypull', MS_NOSUID | MS_NODEV, data);
  } catch (error) {
    throw new LazypullError('Unavailable', `Cannot mount FUSE at "${target}"`, { cause: error });
  }
}

/** Unmounts the topmost mount at `target`. Resolves to false when nothing is mounted there. Rejects with `EBUSY` in `cause` when it is in use. */
export async function unmount(target: string): Promise<boolean> {
  return unmountWith(target, 0);
}

/** Takes the topmost mount at `target` out of the tree at once; the kernel frees it when its last user is gone. False when nothing is mounted there. */
export async function detach(target: string): Promise<boolean> {
  return unmountWith(target, MNT_DETACH);
}

async function unmountWith(target: string, flags: number): Promise<boolean> {
  try {
    await umount2(target, flags);
    return true;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EINVAL' || code === 'ENOENT') return false;
    throw new LazypullError('FailedPrecondition', `Cannot unmount "${target}"`, { cause: error });
  }
}

/** The mount points of this mount namespace at or below `directory`, in the order in which they were mounted. */
export async function mountsBelow(directory: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  return lines
    .map((line) => unescapeOctal(line.split(' ')[4] ?? ''))
    .filter((path) => path === directory || path.startsWith(`${directory}/`));
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

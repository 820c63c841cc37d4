import { readFile } from 'node:fs/promises';
import { LazypullError, errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';
import { openLoop } from './loop-device.ts';

const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MNT_FORCE = 1;
const MNT_DETACH = 2;

const mount2 = syscall<[string, string, string, number, string | null]>(
  'mount',
  'int mount(const char *source, const char *target, const char *fstype, unsigned long flags, const char *data)',
);
const umount2 = syscall<[string, number]>('umount2', 'int umount2(const char *target, int flags)');

/**
 * Mounts an image file read-only: directly from the file if the kernel can (EROFS of Linux 6.12 and later), else
 * through a loop device.
 *
 * @param type of the file system in the image, as the kernel calls it
 * @param source path of the image, a regular file
 * @param target an existing directory
 */
export async function mountImage(type: string, source: string, target: string): Promise<void> {
  try {
    await mount2(source, target, type, MS_RDONLY, null);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTBLK') {
      throw new LazypullError(
        'Unavailable',
        `Cannot mount the ${type.toUpperCase()} image "${source}" at "${target}"`,
        {
          cause: error,
        },
      );
    }
    await mountThroughLoop(type, source, target);
  }
}

/** As `mountImage`, for kernels that cannot mount the file directly. */
export async function mountThroughLoop(type: string, source: string, target: string): Promise<void> {
  try {
    using device = await openLoop(source);
    await mount2(device.path, target, type, MS_RDONLY, null);
  } catch (error) {
    const text = `Cannot mount the ${type.toUpperCase()} image "${source}" at "${target}" through a loop device`;
    throw new LazypullError('Unavailable', text, { cause: error });
  }
}

/** Maximum length of the options of mount(2): a page, with the NUL at its end. */
const maxOptionBytes = 4095;

/** Where writes into an overlay go: two directories of one file system. */
export interface Upper {
  readonly upper: string;
  readonly work: string;
}

/**
 * Mounts directories on top of each other, without set-id bits and devices, and with one device number for everything
 * in them.
 *
 * @param lower directories, the uppermost first, at least two if nothing is `writable`
 * @param target an existing directory
 * @param writable undefined for a read-only mount
 * @param source what the mount table shows
 */
export async function mountOverlay(
  lower: readonly string[],
  target: string,
  writable?: Upper,
  source = 'overlay',
): Promise<void> {
  const { upper, work } = writable ?? {};
  const options = [`lowerdir=${lower.map(escapeOverlayPath).join(':')}`];
  if (upper !== undefined && work !== undefined) {
    options.push(`upperdir=${escapeOverlayPath(upper)}`, `workdir=${escapeOverlayPath(work)}`);
  }
  const data = [...options, 'xino=on'].join(',');
  if (Buffer.byteLength(data) > maxOptionBytes) {
    const text = `Cannot mount ${lower.length} directories on top of each other: their paths are too long`;
    throw new LazypullError('InvalidArgument', text, { hint: 'choose a shorter TMPDIR' });
  }
  const flags = MS_NOSUID | MS_NODEV | (writable === undefined ? MS_RDONLY : 0);
  try {
    await mount2(source, target, 'overlay', flags, data);
  } catch (error) {
    throw new LazypullError('Unavailable', `Cannot mount overlayfs at "${target}"`, { cause: error });
  }
}

/** A path for the options of overlayfs, in which colons and commas are separators. */
function escapeOverlayPath(path: string): string {
  return path.replace(/[\\:,]/g, (character) => `\\${character}`);
}

/**
 * Unmounts the topmost mount at `target`. Resolves to false if nothing is mounted there. Rejects with `EBUSY` in
 * `cause` if it is in use.
 */
export async function unmount(target: string): Promise<boolean> {
  return unmountWith(target, 0);
}

/**
 * Takes the topmost mount at `target` out of the tree at once; the kernel frees it when its last user is gone. Resolves
 * to false if nothing is mounted there.
 */
export async function detach(target: string): Promise<boolean> {
  return unmountWith(target, MNT_DETACH);
}

/**
 * As `detach`, for a FUSE file system: all calls that wait for it, or use it later, get an error, even if its server
 * cannot be reached any more.
 */
export async function abort(target: string): Promise<boolean> {
  return unmountWith(target, MNT_FORCE | MNT_DETACH);
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

/** A line of the mount table. */
export interface MountEntry {
  readonly path: string;
  readonly type: string;
  /** What was mounted; for a loop device, the file behind it. */
  readonly source: string;
  /** The directory of the file system that is visible there: "/", unless it was bound from another place. */
  readonly root: string;
}

/** The mounts of this mount namespace at or below `directory`, in the order in which they were mounted. */
export async function mountTable(directory: string): Promise<MountEntry[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const entries: MountEntry[] = [];
  for (const line of lines) {
    const [place = '', file = ''] = line.split(' - ');
    const [, , , root = '', point = ''] = place.split(' ');
    const path = unescapeOctal(point);
    if (path !== directory && !path.startsWith(`${directory}/`)) continue;
    const [type = '', source = ''] = file.split(' ');
    entries.push({ path, type, source: await behindLoop(unescapeOctal(source)), root: unescapeOctal(root) });
  }
  return entries;
}

/** The mount points of this mount namespace at or below `directory`, in the order in which they were mounted. */
export async function mountsBelow(directory: string): Promise<string[]> {
  return (await mountTable(directory)).map(({ path }) => path);
}

/** Whether mounts in a directory appear in other mount namespaces too: whether the mount that it lies on is shared. */
export async function isShared(directory: string): Promise<boolean> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' '));
  let nearest = { path: '', shared: false };
  for (const [, , , , point = '', , ...rest] of mounts) {
    const path = unescapeOctal(point);
    const contains = path === directory || directory.startsWith(path.endsWith('/') ? path : `${path}/`);
    if (path === '' || !contains || path.length < nearest.path.length) continue;
    nearest = { path, shared: rest.slice(0, rest.indexOf('-')).some((field) => field.startsWith('shared:')) };
  }
  return nearest.shared;
}

async function behindLoop(source: string): Promise<string> {
  const device = /^\/dev\/(loop\d+)$/.exec(source)?.[1];
  if (device === undefined) return source;
  const file = await readFile(`/sys/block/${device}/loop/backing_file`, 'utf8').catch(() => source);
  return file.replace(/\n$/, '');
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

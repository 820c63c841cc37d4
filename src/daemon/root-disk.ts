import { existsSync, readlinkSync, statSync } from 'node:fs';
import { mkdir, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, LazypullError } from '../errors.ts';
import { detach, mountOverlay } from '../kernel/mount.ts';
import { isDangling } from '../kernel/real-path.ts';
import { checkNotShared } from '../state/ownership.ts';

/** File systems that never can, by f_type (statfs(2), linux/magic.h), and why. */
const unfit = new Map([
  [
    0x794c7630,
    'it is on overlayfs, like everything in a container that is not in a volume, and overlayfs cannot keep what clients write there',
  ],
  [0x01021994, 'it is on tmpfs: what is kept there takes memory, and is lost at a reboot'],
  [0x858458f6, 'it is on ramfs: what is kept there takes memory without a bound, and is lost at a reboot'],
]);

/** What to do about it. */
export const rootDiskAdvice =
  'choose a --root on a disk with ext4, Btrfs, or XFS made with ftype=1; in a container give it a volume, such as --volume DIR:DIR:rshared';

/**
 * Makes sure that the file system of the root directory can hold the upper directories of overlayfs, into which clients
 * write. These need d_type, extended attributes and whiteouts (Documentation/filesystems/overlayfs.rst, "Upper and
 * Lower"). Mounts an overlay to try it, and unmounts it again.
 *
 * @param root for messages
 * @param place an existing directory on that file system, in which `trial` is ours alone
 * @throws FailedPrecondition that says what is wrong and what to do
 */
export async function checkRootDisk(root: string, place = root, trial = 'trial'): Promise<void> {
  checkRootPath(root);
  const reason = unfit.get((await statfs(place)).type);
  if (reason !== undefined) throw refusal(root, reason);
  const directory = join(place, trial);
  await remove(directory); // left by a process that was killed
  try {
    await tryOverlay(directory);
  } catch (error) {
    // A disk that is full or fails is no disk of the wrong kind.
    if (['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'].includes(errnoOf(error) ?? '')) throw error;
    throw refusal(root, 'overlayfs cannot write there', error);
  } finally {
    await remove(directory);
  }
}

/**
 * Makes sure that clients can mount what is below a root directory, which need not exist yet. Clients join its path
 * with others in the options of overlayfs, in which colons, commas and backslashes are special, and some clients do not
 * escape them.
 *
 * @throws FailedPrecondition
 */
export function checkRootPath(root: string): void {
  if (isDangling(root)) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot use the root directory "${root}": it is a symlink to "${readlinkSync(root)}", which is not there`,
      { hint: 'mount what should be there, or make that directory' },
    );
  }
  checkNotShared(root);
  if (existsSync(root) && !statSync(root).isDirectory()) {
    throw new LazypullError('FailedPrecondition', `Cannot use the root directory "${root}": it is not a directory`, {
      hint: 'choose another --root',
    });
  }
  const [character] = /[:,\\\p{Cc}]/u.exec(root) ?? [];
  if (character === undefined) return;
  throw new LazypullError(
    'FailedPrecondition',
    `Cannot use the root directory ${JSON.stringify(root)}: overlayfs cannot take ${JSON.stringify(character)} in a path from every client`,
    {
      hint: 'choose a --root without colons, commas, backslashes and control characters in its real path',
    },
  );
}

/** The directory itself, or the nearest existing one above it. */
export function nearestDirectory(path: string): string {
  return existsSync(path) || path === '/' ? path : nearestDirectory(dirname(path));
}

function refusal(root: string, reason: string, cause?: unknown): LazypullError {
  const text = `Cannot use the root directory "${root}": ${reason}`;
  return new LazypullError('FailedPrecondition', text, { cause, hint: rootDiskAdvice });
}

/** Deletes a file and replaces a directory of the lower layer, and checks that both are gone. */
async function tryOverlay(directory: string): Promise<void> {
  const place = (name: string): string => join(directory, name);
  await mkdir(directory, { mode: 0o700 });
  for (const name of ['lower', 'lower/directory', 'upper', 'work', 'merged']) await mkdir(place(name));
  await writeFile(place('lower/file'), '');
  await writeFile(place('lower/directory/file'), '');
  await mountOverlay([place('lower')], place('merged'), { upper: place('upper'), work: place('work') });
  await rm(place('merged/file'));
  if ((await readdir(place('merged'))).join() !== 'directory') throw listed();
  await rm(place('merged/directory'), { recursive: true });
  await mkdir(place('merged/directory'));
  if ((await readdir(place('merged/directory'))).length > 0) throw listed();
}

function listed(): LazypullError {
  return new LazypullError(
    'FailedPrecondition',
    'deleted files are still listed, as on a file system without d_type or extended attributes',
  );
}

async function remove(directory: string): Promise<void> {
  await detach(join(directory, 'merged'));
  await rm(directory, { recursive: true, force: true });
}

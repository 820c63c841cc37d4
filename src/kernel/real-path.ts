import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';

/**
 * The one path of a file or directory: absolute, without symlinks, ".." and trailing slashes, as the kernel follows and
 * the mount table shows it. What is not there yet is taken as it is written, below the real path of what is; so is all
 * below a symlink to something that is not there.
 */
export function realPath(path: string): string {
  const absolute = isAbsolute(path) ? path : `${process.cwd()}/${path}`;
  try {
    return realpathSync.native(absolute); // the other one takes ".." off before it follows symlinks
  } catch {
    const parent = dirname(absolute);
    if (parent === absolute) return absolute;
    return join(realPath(parent), basename(absolute));
  }
}

/** Whether two paths are of one file or directory. */
export function isSamePath(a: string, b: string): boolean {
  return realPath(a) === realPath(b);
}

/** Whether there is a symlink at a path that leads nowhere. */
export function isDangling(path: string): boolean {
  try {
    if (!lstatSync(path).isSymbolicLink()) return false;
  } catch {
    return false; // nothing can be there
  }
  try {
    realpathSync.native(path);
    return false;
  } catch {
    return true;
  }
}

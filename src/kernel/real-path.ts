import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';

/**
 * The one path of a file or directory: absolute, without symlinks, ".." and trailing slashes, as the mount table shows
 * it. Parts that do not exist yet are taken as written, below the real path of what exists. The same holds for
 * everything below a dangling symlink.
 */
export function realPath(path: string): string {
  const absolute = isAbsolute(path) ? path : `${process.cwd()}/${path}`;
  try {
    return realpathSync.native(absolute); // the other variant removes ".." before it follows symlinks
  } catch {
    const parent = dirname(absolute);
    if (parent === absolute) return absolute;
    return join(realPath(parent), basename(absolute));
  }
}

/** Whether two paths lead to one file or directory. */
export function isSamePath(a: string, b: string): boolean {
  return realPath(a) === realPath(b);
}

/** Whether there is a dangling symlink at a path. */
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

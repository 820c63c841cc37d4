import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * As `mkdir -p`, with `mode` for the directories that it makes. Node's own recursion does not end in a directory that
 * takes no entries, such as /proc, and says ENOENT for a disk that is read-only or fails, and for a quota.
 *
 * @returns the uppermost directory that it made; undefined if all were there
 */
export function makeDirectory(path: string, mode = 0o777): string | undefined {
  if (existsSync(path)) return undefined;
  const parent = dirname(path);
  const above = parent === path ? undefined : makeDirectory(parent, mode);
  try {
    mkdirSync(path, { mode });
    return above ?? path;
  } catch (error) {
    if (!existsSync(path)) throw error;
    return above;
  }
}

import { statSync } from 'node:fs';

/**
 * A text that identifies the directory at a path on this machine: a copy of it, or one that was restored from a backup,
 * has another one.
 */
export function directoryIdentity(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
}

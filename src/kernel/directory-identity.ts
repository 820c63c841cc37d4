import { statSync } from 'node:fs';

/**
 * Which directory is at a path, as a text that no other directory of this machine has: a copy of it, or one that was
 * put back from a backup, is another one.
 */
export function directoryIdentity(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
}

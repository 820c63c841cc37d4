import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A new directory for files that are written very often, in memory if the machine has that. It goes when the program
 * ends.
 */
export function scratchDirectory(): string {
  const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lazypull-fuzz-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

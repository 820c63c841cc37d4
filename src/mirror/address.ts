import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The file in a daemon's root with the address of its mirror, as long as it has one. */
export function mirrorFileAt(root: string): string {
  return join(root, 'mirror-address');
}

/** The address of the mirror of the daemon that has a root, as `HOST:PORT`; undefined if it has none. */
export async function mirrorAddressOf(root: string): Promise<string | undefined> {
  const text = await readFile(mirrorFileAt(root), 'utf8').catch(() => '');
  return /^\S{1,300}:\d{1,5}$/.test(text.trim()) ? text.trim() : undefined;
}

import { chmodSync, statSync } from 'node:fs';
import { makeDirectory } from '../kernel/make-directory.ts';

/** All users may pass through; only the owner may list it and put something there. */
const passable = 0o711;

/**
 * Makes a directory, if it is not there, through which all users can reach the sockets in it. The mode and the group of
 * each socket say which users may use it. buildkitd itself makes the directory only if it is missing, and for one group
 * alone, whose members could then replace the socket.
 */
export function makePassable(directory: string): void {
  makeDirectory(directory, passable);
  const { mode } = statSync(directory);
  if ((mode & passable) !== passable) chmodSync(directory, (mode | passable) & 0o7777);
}

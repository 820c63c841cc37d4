import { chmodSync, statSync } from 'node:fs';
import { makeDirectory } from '../kernel/make-directory.ts';

/** Anyone may pass, only the owner may list it and put something there. */
const passable = 0o711;

/**
 * Makes a directory, if it is not there, through which anyone can reach the sockets in it: the mode and the group of
 * each socket say which users may use it. buildkitd itself makes it only if there is none, and for one group alone,
 * whose members could then put another socket in its place.
 */
export function makePassable(directory: string): void {
  makeDirectory(directory, passable);
  const { mode } = statSync(directory);
  if ((mode & passable) !== passable) chmodSync(directory, (mode | passable) & 0o7777);
}

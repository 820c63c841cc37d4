import { statSync } from 'node:fs';
import { LazypullError } from '../errors.ts';

const groupWrite = 0o020;
const othersWrite = 0o002;
const sticky = 0o1000;

/** Directories of the machine. If they were a root, no other user could enter them, nor anything below them. */
const sharedDirectories = [
  '/boot',
  '/dev',
  '/etc',
  '/home',
  '/run',
  '/tmp',
  '/usr',
  '/var/cache',
  '/var/lib',
  '/var/log',
  '/var/tmp',
];

/**
 * Makes sure that only root and we can replace a file in a directory, because clients mount what is served there.
 * Others may be able to write there if the directory is sticky, as /tmp is, and the group may if it is root's.
 *
 * @throws FailedPrecondition that says what to change
 */
export function checkOnlyOursIn(directory: string): void {
  const { uid, gid, mode } = statSync(directory);
  const ours = uid === 0 || uid === process.geteuid?.();
  const open = (mode & othersWrite) !== 0 || ((mode & groupWrite) !== 0 && gid !== 0);
  if (ours && (!open || (mode & sticky) !== 0)) return;
  throw new LazypullError(
    'FailedPrecondition',
    `Cannot use the directory "${directory}": ${ours ? 'others may write there' : `it belongs to user ${uid}`}`,
    { hint: `choose another one, or run "chown root ${directory} && chmod go-w ${directory}"` },
  );
}

/**
 * Makes sure that a root directory, given by its real path, is not used by others and contains nothing that others use:
 * they could not enter it any more.
 *
 * @throws FailedPrecondition
 */
export function checkNotShared(root: string): void {
  const shared = sharedDirectories.find((path) => path === root || path.startsWith(root === '/' ? root : `${root}/`));
  if (shared !== undefined) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot use the root directory "${root}": ${shared === root ? 'it' : `"${shared}" is below it, and`} is open to other users, and they would lose access`,
      { hint: 'choose a --root of its own, such as a directory in it' },
    );
  }
}

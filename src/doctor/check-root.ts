import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { checkOnlyOursIn } from '../state/ownership.ts';
import { checkRootDisk, nearestDirectory, rootDiskAdvice } from '../daemon/root-disk.ts';
import { LazypullError } from '../errors.ts';
import { isShared } from '../kernel/mount.ts';
import { absent, type CheckResult, right, tryOut } from './check-result.ts';

/** With less a daemon starts, and is soon in trouble. */
const minFreeBytes = 1 << 30;
const minFreeInodes = 20_000;

/**
 * Checks the root directory: its owner, its file system, and its free space. If `mayMount` is false, nothing is mounted
 * to try it.
 */
export async function checkRoot(root: string, mayMount: boolean): Promise<CheckResult[]> {
  const parent = nearestDirectory(root);
  const results: CheckResult[] = [];
  if (mayMount) {
    results.push(
      await tryOut('root', rootDiskAdvice, async () => {
        if (existsSync(root)) checkOnlyOursIn(root);
        await checkRootDisk(root, parent, `lazypull-check-trial-${process.pid}`);
        return `"${root}" can be used`;
      }),
    );
  }
  results.push(
    await checkSharing(root, parent),
    await tryOut('space', 'free some, or choose another --root', () => checkSpace(root, parent)),
  );
  return results;
}

/** A private mount is not wrong in itself: most daemons and their clients are in one mount namespace. */
async function checkSharing(root: string, parent: string): Promise<CheckResult> {
  const name = 'sharing of mounts';
  if (await isShared(parent)) return right(name, `what is mounted in "${root}" is seen in other mount namespaces`);
  const text = `clients in other mount namespaces than the daemon, such as outside of its container, will find "${root}" empty`;
  return absent(name, text, `if a client is in another one, start the container with -v ${root}:${root}:rshared`);
}

/** @param parent a directory on the file system of the root */
export async function checkSpace(root: string, parent: string, stat = statfs): Promise<string> {
  const { bavail, bsize, files, ffree } = await stat(parent);
  const text = `${((bavail * bsize) / 1e9).toFixed(1)} GB are free for "${root}"`;
  if (bavail * bsize < minFreeBytes) throw new LazypullError('ResourceExhausted', `only ${text}`);
  if (files > 0 && ffree < minFreeInodes) {
    const few = `only ${ffree} inodes are free for "${root}", and each file and directory that clients write takes one`;
    throw new LazypullError('ResourceExhausted', few);
  }
  return text;
}

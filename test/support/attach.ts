import koffi from 'koffi';
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { takeDescriptor } from '../../src/kernel/pidfd.ts';

const moveMount = 429;
const AT_FDCWD = -100;
const MOVE_MOUNT_F_EMPTY_PATH = 4;

interface KeeperRecord {
  keeper: { pid: number };
  fuse: { name: string; fd: number; root?: number };
}

/** Mounts the FUSE file system of the daemon of a root directory in `directory`, as versions did that had it there. */
export async function attachFuse(root: string, directory: string): Promise<void> {
  const { keeper, fuse } = await keeperRecord(root);
  const descriptor = await takeDescriptor(keeper.pid, fuse.root!);
  const call = koffi
    .load('libc.so.6')
    .func('long syscall(long n, long a, const char *b, long c, const char *d, long e)');
  assert.equal(call(moveMount, descriptor, '', AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH), 0);
}

/** Has the record of the keeper tell no more than such a version wrote. */
export async function forgetRoot(root: string): Promise<void> {
  const { fuse, ...record } = await keeperRecord(root);
  await writeFile(join(root, 'keeper.json'), JSON.stringify({ ...record, fuse: { name: fuse.name, fd: fuse.fd } }));
}

export async function keeperRecord(root: string): Promise<KeeperRecord> {
  return JSON.parse(await readFile(join(root, 'keeper.json'), 'utf8')) as KeeperRecord;
}

import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf, fileLimitHint, LazypullError } from '../errors.ts';
import { syscallNow } from './libc.ts';

/** getrlimit(2), on all architectures that we run on. */
const RLIMIT_NOFILE = 7;

/** Descriptors that are kept for what is open for moments. */
const keptFiles = 32;

const prlimit = syscallNow<[number, number, Buffer | null, Buffer | null]>(
  'prlimit',
  'int prlimit(int pid, int resource, void *newLimit, void *oldLimit)',
);

/**
 * Raises the limit on open files of this process to `wanted`, if it is lower and the kernel allows it.
 *
 * @returns the limit after that
 */
export function raiseOpenFiles(wanted: number): number {
  const { soft, hard } = limits();
  for (const [newSoft, newHard] of [
    [wanted, Math.max(wanted, hard)],
    [Math.min(wanted, hard), hard],
  ] as const) {
    if (soft >= newSoft) continue;
    try {
      setOpenFiles(newSoft, newHard);
      return newSoft;
    } catch (error) {
      if (errnoOf(error) !== 'EPERM') throw error;
    }
  }
  return soft;
}

/**
 * Opens a file for reading and writing that stays open for long. The last numbers of descriptors are kept for what is
 * open for moments: connections of clients, records that are written.
 *
 * @throws ResourceExhausted if only these are left
 */
export async function openForLong(path: string): Promise<FileHandle> {
  const file = await open(path, 'r+');
  const { soft } = limits();
  if (file.fd < soft - keptFiles) return file; // the kernel gives the lowest number that is free
  await file.close();
  const text = `Cannot keep "${path}" open: ${soft} files may be open, and few are left`;
  throw new LazypullError('ResourceExhausted', text, { hint: fileLimitHint });
}

function limits(): { soft: number; hard: number } {
  const limit = Buffer.alloc(16);
  prlimit(0, RLIMIT_NOFILE, null, limit);
  return { soft: Number(limit.readBigUInt64LE(0)), hard: Number(limit.readBigUInt64LE(8)) };
}

function setOpenFiles(soft: number, hard: number): void {
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(BigInt(soft), 0);
  limit.writeBigUInt64LE(BigInt.asUintN(64, BigInt(hard)), 8);
  prlimit(0, RLIMIT_NOFILE, limit, null);
}

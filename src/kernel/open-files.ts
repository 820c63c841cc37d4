import { errnoOf } from '../errors.ts';
import { syscallNow } from './libc.ts';

/** getrlimit(2), on all architectures that we run on. */
const RLIMIT_NOFILE = 7;

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
  const limit = Buffer.alloc(16);
  prlimit(0, RLIMIT_NOFILE, null, limit);
  const soft = Number(limit.readBigUInt64LE(0));
  const hard = Number(limit.readBigUInt64LE(8));
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

function setOpenFiles(soft: number, hard: number): void {
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(BigInt(soft), 0);
  limit.writeBigUInt64LE(BigInt.asUintN(64, BigInt(hard)), 8);
  prlimit(0, RLIMIT_NOFILE, limit, null);
}

import { spawn } from 'node:child_process';
import { closeSync, writeFileSync } from 'node:fs';
import { LazypullError } from '../errors.ts';
import { syscall } from './libc.ts';
import { type ProcessIdentity, identityOf } from './pidfd.ts';

const O_CLOEXEC = 0o2000000;

/** The first descriptor of a holder, after the three standard ones. */
export const firstHeldDescriptor = 3;

const pipe2 = syscall<[Buffer, number]>('pipe2', 'int pipe2(void *descriptors, int flags)');

/**
 * Starts a process that only keeps descriptors open: a shell that waits for a line from a pipe to which only it can
 * write. It outlives us, and it is the last process that the kernel kills if memory runs out.
 *
 * @param title what `ps` shows after the shell's script
 * @param descriptors in the holder they have the numbers from `firstHeldDescriptor` on
 */
export async function startHolder(title: readonly string[], descriptors: readonly number[]): Promise<ProcessIdentity> {
  const ends = Buffer.alloc(8);
  await pipe2(ends, O_CLOEXEC);
  const [reading, writing] = [ends.readInt32LE(0), ends.readInt32LE(4)];
  try {
    const child = spawn('/bin/sh', ['-c', 'read -r line', ...title], {
      detached: true,
      cwd: '/',
      env: {},
      stdio: [reading, 'ignore', 'ignore', ...descriptors, writing],
    });
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    child.unref();
    const identity = identityOf(child.pid ?? 0);
    if (identity === undefined) throw new LazypullError('Unavailable', 'It ended at once');
    spare(identity.pid);
    return identity;
  } catch (error) {
    throw new LazypullError('Unavailable', 'Cannot start a process that keeps descriptors open', { cause: error });
  } finally {
    closeSync(reading);
    closeSync(writing);
  }
}

/** Tells the kernel to kill other processes first if memory runs out. */
function spare(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '-1000');
  } catch {
    // The holder is small, so it is not among the first anyway.
  }
}

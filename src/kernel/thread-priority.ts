import { readlinkSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { basename } from 'node:path';

/** A thread that yields to all others of the machine, and its former nice value. */
export interface YieldingThread {
  /** What gettid(2) says. */
  readonly tid: number;
  readonly nice: number;
}

const lowest = 19;

/**
 * Lets the calling thread run only if no other one wants the processor (setpriority(2): on Linux a nice value belongs
 * to a thread).
 *
 * @returns what `goFirstAgain` needs; undefined if we could not undo it: then nothing is changed except for one step
 */
export function yieldToOthers(): YieldingThread | undefined {
  const nice = getPriority();
  try {
    setPriority(nice + 1);
    setPriority(nice);
    setPriority(lowest);
  } catch {
    return undefined;
  }
  return { tid: Number(basename(readlinkSync('/proc/thread-self'))), nice };
}

/** Gives a thread of this process its nice value back. Any thread may call it, even while that thread works. */
export function goFirstAgain({ tid, nice }: YieldingThread): void {
  try {
    setPriority(tid, nice);
  } catch {
    // The thread has ended.
  }
}

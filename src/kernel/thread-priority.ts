import { readlinkSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { basename } from 'node:path';

/** A thread that lets the others of the machine go first, and the nice value that it had. */
export interface YieldingThread {
  /** What gettid(2) says. */
  readonly tid: number;
  readonly nice: number;
}

const lowest = 19;

/**
 * Lets the thread that calls this run only if no other one wants the processor (setpriority(2): on Linux a nice value
 * is a thread's).
 *
 * @returns what `goFirstAgain` needs; undefined, and nothing is changed but one step, if we could not undo it
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

/** Gives a thread of this process its nice value back, from any thread, also in the midst of what it does. */
export function goFirstAgain({ tid, nice }: YieldingThread): void {
  try {
    setPriority(tid, nice);
  } catch {
    // It has ended.
  }
}

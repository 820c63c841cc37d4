import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';

/**
 * A command that each of our threads takes besides its own: it closes its port, so that it ends when it has nothing
 * left to do.
 */
export interface EndCommand {
  readonly kind: 'end';
}

/** A command to threads that stay: to collect garbage now, and to give free memory back. */
export interface RestCommand {
  readonly kind: 'rest';
}

/** Longer than any job takes. */
const maxEndMs = 20_000;

/**
 * Ends a thread once it has done its earlier work. Node aborts the whole process if a thread is terminated in the
 * middle of some of its work, such as making a zlib stream. So only a thread that does not end is terminated.
 */
export async function endWorker(worker: Worker): Promise<void> {
  if (worker.threadId < 0) return; // it has ended by itself
  const gone = once(worker, 'exit');
  worker.ref();
  worker.postMessage({ kind: 'end' } satisfies EndCommand);
  const timer = setTimeout(() => void worker.terminate(), maxEndMs).unref();
  await gone;
  clearTimeout(timer);
}

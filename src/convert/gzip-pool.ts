import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { LazypullError } from '../errors.ts';
import { endWorker } from '../util/end-worker.ts';
import { workerUrl } from '../util/worker-url.ts';

/** Gzip members in a row, or their content: member i is the bytes [ends[i-1] or 0, ends[i]) of `data`. */
export interface MemberBatch {
  data: Uint8Array<ArrayBuffer>;
  ends: number[];
}

interface Thread {
  worker: Worker;
  /** The waiters for the batches of the worker, in the order in which they were sent. */
  waiting: { resolve: (batch: MemberBatch) => void; reject: (error: unknown) => void }[];
}

/** Threads that compress. They start with the first batch and end with the pool. Several writers may share a pool. */
export class GzipPool implements AsyncDisposable {
  /** How many batches to have under way: one in work and one waiting for each thread. */
  readonly depth: number;
  readonly #level: number;
  readonly #size: number;
  readonly #threads: Thread[] = [];

  /** `level` is gzip's, 1 to 9. */
  constructor(level: number, size: number = availableParallelism()) {
    if (!Number.isInteger(level) || level < 1 || level > 9) {
      throw new LazypullError('InvalidArgument', `Cannot compress at level ${level}: it must be from 1 to 9`);
    }
    this.#level = level;
    this.#size = size;
    this.depth = 2 * size;
  }

  /** Compresses each member of the batch to a gzip member. `batch.data` is transferred: it is empty afterwards. */
  compress(batch: MemberBatch): Promise<MemberBatch> {
    const thread = this.#leastBusy();
    return new Promise((resolve, reject) => {
      thread.waiting.push({ resolve, reject });
      thread.worker.postMessage(batch, [batch.data.buffer]);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.splice(0).map(({ worker }) => endWorker(worker)));
  }

  #leastBusy(): Thread {
    if (this.#threads.length < this.#size) return this.#start();
    return this.#threads.reduce((a, b) => (b.waiting.length < a.waiting.length ? b : a));
  }

  #start(): Thread {
    const worker = new Worker(workerUrl(import.meta.url, './gzip-worker'), { workerData: { level: this.#level } });
    const thread: Thread = { worker, waiting: [] };
    const end = (cause: unknown) => {
      const index = this.#threads.indexOf(thread);
      if (index >= 0) this.#threads.splice(index, 1); // it would not answer later batches
      const error = new LazypullError('Unknown', 'Cannot compress a layer: a compression thread ended', { cause });
      for (const { reject } of thread.waiting.splice(0)) reject(error);
    };
    worker.on('message', (batch: MemberBatch) => thread.waiting.shift()?.resolve(batch));
    worker.on('error', end);
    worker.on('exit', () => end(undefined));
    this.#threads.push(thread);
    return thread;
  }
}

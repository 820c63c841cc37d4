import { Worker } from 'node:worker_threads';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { workerUrl } from '../util/worker-url.ts';
import type { UnpackCommand, UnpackResult, UnpackTarget } from './unpack-worker.ts';

/** Blob bytes that may wait in the pool before who sends more has to wait. */
const maxQueuedBytes = 16 << 20;

interface Job {
  readonly bytes: number;
  readonly rows: { first: number; last: number };
  readonly settle: (failures: UnpackResult['failures']) => void;
}

/** Threads that turn blob bytes into resident rows. */
export class UnpackPool {
  readonly #workers: Worker[];
  readonly #jobs: Map<number, Job>[];
  readonly #targets = new Map<number, UnpackTarget>();
  readonly #room: (() => void)[] = [];
  readonly #log: Log;
  #queuedBytes = 0;
  #nextJob = 0;
  #nextTarget = 0;

  constructor(threads: number, log: Log) {
    this.#log = log;
    this.#jobs = Array.from({ length: threads }, () => new Map<number, Job>());
    this.#workers = this.#jobs.map((_, index) => this.#startWorker(index));
  }

  /** Makes a layer's disk file known to the threads. @returns the id for `unpack` and `remove` */
  add(target: Omit<UnpackTarget, 'id'>): number {
    const id = this.#nextTarget++;
    this.#targets.set(id, { ...target, id });
    for (const worker of this.#workers) post(worker, { kind: 'add', target: { ...target, id } });
    return id;
  }

  /** Forgets a target after the jobs that it still has. */
  remove(id: number): void {
    this.#targets.delete(id);
    for (const worker of this.#workers) post(worker, { kind: 'remove', id });
  }

  /**
   * Inflates, verifies and writes rows [first, last) of a target.
   *
   * @param bytes the blob from `blobOffset` on; its memory is given away unless it is shared
   * @returns the rows that failed, with the reasons
   */
  unpack(
    id: number,
    rows: { first: number; last: number },
    bytes: Uint8Array,
    blobOffset: number,
  ): Promise<UnpackResult['failures']> {
    let index = 0;
    for (let i = 1; i < this.#jobs.length; i++) if (this.#jobs[i]!.size < this.#jobs[index]!.size) index = i;
    const job = this.#nextJob++;
    this.#queuedBytes += bytes.byteLength;
    return new Promise((settle) => {
      this.#jobs[index]!.set(job, { bytes: bytes.byteLength, rows, settle });
      post(this.#workers[index]!, { kind: 'unpack', job, id, ...rows, bytes, blobOffset });
    });
  }

  /** Resolves when the threads have room for more blob bytes. */
  async room(): Promise<void> {
    while (this.#queuedBytes > maxQueuedBytes) await new Promise<void>((resolve) => this.#room.push(resolve));
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #startWorker(index: number): Worker {
    const worker = new Worker(workerUrl(import.meta.url, './unpack-worker'), {
      resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
    });
    worker.on('message', ({ job, failures }: UnpackResult) => this.#settle(index, job, failures));
    worker.once('error', (error) => {
      this.#log.error({ error: messageOf(error) }, 'an unpacking thread ended with an error');
      for (const [job, { rows }] of this.#jobs[index]!) {
        const failures: UnpackResult['failures'] = [];
        for (let row = rows.first; row < rows.last; row++) failures.push({ row, message: messageOf(error) });
        this.#settle(index, job, failures);
      }
      this.#workers[index] = this.#startWorker(index);
    });
    for (const target of this.#targets.values()) post(worker, { kind: 'add', target });
    return worker;
  }

  #settle(index: number, id: number, failures: UnpackResult['failures']): void {
    const job = this.#jobs[index]!.get(id);
    if (job === undefined) return;
    this.#jobs[index]!.delete(id);
    this.#queuedBytes -= job.bytes;
    for (const resume of this.#room.splice(0)) resume();
    job.settle(failures);
  }
}

function post(worker: Worker, command: UnpackCommand): void {
  const transfer =
    command.kind === 'unpack' && command.bytes.buffer instanceof ArrayBuffer ? [command.bytes.buffer] : [];
  worker.postMessage(command, transfer);
}

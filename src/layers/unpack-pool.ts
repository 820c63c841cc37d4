import { Worker } from 'node:worker_threads';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { BufferPressure } from '../util/buffer-pressure.ts';
import { trimMemory } from '../kernel/memory.ts';
import { workerUrl } from '../util/worker-url.ts';
import type { Failure, UnpackAnswer, UnpackCommand, UnpackTarget } from './unpack-worker.ts';
import type { RowRange } from './windows.ts';

/** Blob bytes that may wait in the pool before who sends more has to wait. */
const maxQueuedBytes = 4 << 20;

/** A thread that had nothing to do for so long ends: each takes some 15 MB. The first stays longer, since readers wait for it to start. */
const idleMs = 300;
const firstIdleMs = 2000;

/** After so many blob bytes memory is given back to the kernel while the threads are still busy. */
const trimAfterBytes = 32 << 20;

interface Job {
  readonly bytes: number;
  readonly rows: RowRange;
  readonly settle: (failures: Failure[]) => void;
}

interface Thread {
  worker: Worker | undefined;
  idle: NodeJS.Timeout | undefined;
  readonly jobs: Map<number, Job>;
}

/** Threads that turn blob bytes into resident rows. They are there only while there is work. */
export class UnpackPool {
  readonly #threads: Thread[];
  readonly #targets = new Map<number, UnpackTarget>();
  readonly #room: (() => void)[] = [];
  readonly #log: Log;
  readonly #pressure = new BufferPressure();
  #queuedBytes = 0;
  #untrimmedBytes = 0;
  #nextJob = 0;
  #nextTarget = 0;

  constructor(threads: number, log: Log) {
    this.#log = log;
    this.#threads = Array.from({ length: threads }, () => ({ worker: undefined, idle: undefined, jobs: new Map() }));
  }

  /** Makes a layer's disk file known to the threads. @returns the id for `unpack` and `remove` */
  add(target: Omit<UnpackTarget, 'id'>): number {
    const id = this.#nextTarget++;
    this.#targets.set(id, { ...target, id });
    for (const { worker } of this.#threads) if (worker) post(worker, { kind: 'add', target: { ...target, id } });
    return id;
  }

  /** Forgets a target after the jobs that it still has. */
  remove(id: number): void {
    this.#targets.delete(id);
    for (const { worker } of this.#threads) if (worker) post(worker, { kind: 'remove', id });
  }

  /** Blob bytes that wait to be unpacked. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Starts the first thread before there is work for it, and has it rehearse: both take a while. */
  warm(): void {
    const [first] = this.#threads;
    post(this.#worker(first!), { kind: 'rehearse' });
    this.#rest(first!);
  }

  /**
   * Inflates, verifies and writes rows [first, last) of a target.
   *
   * @param bytes the blob from `blobOffset` on, in shared memory
   * @param isAwaited whether readers wait: then what the disk does not take comes with the failures
   * @returns the rows that failed, with the reasons
   */
  unpack(id: number, rows: RowRange, bytes: Uint8Array, blobOffset: number, isAwaited: boolean): Promise<Failure[]> {
    const command = { kind: 'unpack', id, ...rows, bytes, blobOffset, isAwaited } as const;
    return this.#run(rows, bytes.byteLength, (job) => ({ ...command, job }));
  }

  /**
   * Verifies those of the rows [first, last) of a target that are on its disk. They are verified or absent after that.
   *
   * @returns the rows that are absent now, with the reasons
   */
  verify(id: number, rows: RowRange): Promise<Failure[]> {
    return this.#run(rows, 0, (job) => ({ kind: 'verify', job, id, ...rows }));
  }

  /** Resolves when the threads have room for more blob bytes. */
  async room(): Promise<void> {
    while (this.#queuedBytes > maxQueuedBytes) await new Promise<void>((resolve) => this.#room.push(resolve));
  }

  async close(): Promise<void> {
    for (const { idle } of this.#threads) clearTimeout(idle);
    await Promise.all(this.#threads.map(async ({ worker }) => worker?.terminate()));
  }

  #run(rows: RowRange, bytes: number, command: (job: number) => UnpackCommand): Promise<Failure[]> {
    const thread = this.#threads.reduce((least, other) => (other.jobs.size < least.jobs.size ? other : least));
    clearTimeout(thread.idle);
    const job = this.#nextJob++;
    this.#queuedBytes += bytes;
    return new Promise((settle) => {
      thread.jobs.set(job, { bytes, rows, settle });
      post(this.#worker(thread), command(job));
    });
  }

  #worker(thread: Thread): Worker {
    if (thread.worker !== undefined) return thread.worker;
    const worker = new Worker(workerUrl(import.meta.url, './unpack-worker'), {
      resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
    });
    thread.worker = worker;
    for (const target of this.#targets.values()) post(worker, { kind: 'add', target });
    worker.on('message', (answer: UnpackAnswer) => {
      if ('rested' in answer) void trimMemory();
      else this.#settle(thread, answer.job, answer.failures);
    });
    worker.once('error', (error) => {
      this.#log.error({ error: messageOf(error) }, 'an unpacking thread ended with an error');
      if (thread.worker === worker) thread.worker = undefined;
      for (const [job, { rows }] of thread.jobs) {
        const failures: Failure[] = [];
        for (let row = rows.first; row < rows.last; row++)
          failures.push({ row, code: 'Unavailable', message: messageOf(error) });
        this.#settle(thread, job, failures);
      }
    });
    return worker;
  }

  #settle(thread: Thread, id: number, failures: Failure[]): void {
    const job = thread.jobs.get(id);
    if (job === undefined) return;
    thread.jobs.delete(id);
    this.#queuedBytes -= job.bytes;
    this.#pressure.dropped(job.bytes);
    this.#untrimmedBytes += job.bytes;
    if (this.#untrimmedBytes > trimAfterBytes) {
      this.#untrimmedBytes = 0;
      void trimMemory();
    }
    for (const resume of this.#room.splice(0)) resume();
    job.settle(failures);
    this.#rest(thread);
  }

  /** Lets a thread rest when no work comes for a while, and then end; starts one that is not there. */
  #rest(thread: Thread): void {
    clearTimeout(thread.idle);
    if (thread.jobs.size > 0) return;
    const worker = this.#worker(thread);
    const end = (): void => {
      thread.worker = undefined;
      void worker.terminate().then(trimMemory);
    };
    const rest = (): void => {
      this.#pressure.rest();
      if (thread !== this.#threads[0]) {
        end();
        return;
      }
      post(worker, { kind: 'rest' });
      thread.idle = setTimeout(end, firstIdleMs).unref();
    };
    thread.idle = setTimeout(rest, idleMs).unref();
  }
}

function post(worker: Worker, command: UnpackCommand): void {
  worker.postMessage(command);
}

import { Worker } from 'node:worker_threads';
import { type ErrorCode, LazypullError, messageOf } from '../../errors.ts';
import { Formats } from '../../formats/index.ts';
import { Fronts } from '../../fronts/index.ts';
import type { Log } from '../../log.ts';
import { BufferPressure, stepsMs } from '../../util/buffer-pressure.ts';
import { endWorker } from '../../util/end-worker.ts';
import { trimMemory } from '../../kernel/memory.ts';
import { goFirstAgain, type YieldingThread } from '../../kernel/thread-priority.ts';
import { workerUrl } from '../../util/worker-url.ts';
import type { MemoryBudget } from '../memory-budget.ts';
import type {
  Failure,
  JobCommand,
  JobError,
  JobResult,
  WorkerPoolData,
  WorkerAnswer,
  WorkerCommand,
  UnpackTarget,
} from './worker.ts';
import type { Planned, PlanRequest } from '../store/plan-files.ts';
import { RequestRoom } from '../fetch/request-room.ts';
import { BufferPool } from './buffer-pool.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';

/**
 * How many bytes must wait before starting another thread is worthwhile: the start takes as long as unpacking so many
 * blob bytes.
 */
const helpAfterBytes = 3 << 20;

/**
 * Jobs that a thread has at a time: the next one is there when the first is done, and a later job can still go before
 * the others.
 */
const jobsAtOnce = 2;

/** An idle thread ends after so long; the first thread only releases memory. */
const idleMs = 1500;

/**
 * After so many unpacked blob bytes the first thread releases memory when it is idle: fewer leave little garbage. A
 * plan counts as so many.
 */
const restAfterBytes = 16 << 20;
const planBytes = 4 << 20;

/** The program serves before the first thread takes a processor to warm up. */
const warmUpAfterMs = 100;

/** Bounds of a thread's heap in MB; the old generation of the first one depends on the memory budget. */
const firstYoungMb = 6;
const otherLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 2 };

interface Job {
  /** Made when a thread gets the job. */
  readonly command: () => JobCommand;
  readonly kind: JobCommand['kind'];
  readonly chunks: ChunkRange;
  /** Whether a reader or a client waits for it. */
  readonly isAwaited: () => boolean;
  /** Blob bytes of the job. */
  readonly bytes: number;
  readonly settle: (result: JobResult) => void;
}

interface Thread {
  readonly isFirst: boolean;
  worker: Worker | undefined;
  idle: NodeJS.Timeout | undefined;
  /** Set while it warms up. */
  yields: YieldingThread | undefined;
  /** The jobs that it was given, in the order in which it does them. */
  readonly jobs: Map<number, Job>;
}

/**
 * Threads that plan the images of layers and turn blob bytes into resident chunks. The first one stays, because a new
 * thread takes several times as long for its first work; the others exist only while there is much to do. Only the
 * first one plans. Jobs that readers wait for go first.
 */
export class WorkerPool {
  /** Memory for the blob bytes of `unpack`. */
  readonly buffers = new BufferPool();
  /** Room for arriving bytes that will be unpacked. */
  readonly requests: RequestRoom;
  readonly #threads: Thread[];
  readonly #targets = new Map<number, UnpackTarget>();
  /** Jobs that no thread has yet. */
  readonly #waiting: Job[] = [];
  readonly #room: (() => void)[] = [];
  readonly #warmUp = Promise.withResolvers<void>();
  readonly #budget: MemoryBudget;
  readonly #formats: Formats;
  readonly #fronts: Fronts;
  readonly #log: Log;
  readonly #pressure = new BufferPressure(true);
  #queuedBytes = 0;
  #untrimmedBytes = 0;
  #unrestedBytes = 0;
  #nextJob = 0;
  #nextTarget = 0;
  #closed = false;

  constructor(budget: MemoryBudget, log: Log, formats = new Formats(), fronts = new Fronts()) {
    this.#budget = budget;
    this.#formats = formats;
    this.#fronts = fronts;
    this.requests = new RequestRoom(budget.requestBytes);
    this.#log = log;
    this.#threads = Array.from({ length: budget.threads }, (_, i) => ({
      isFirst: i === 0,
      worker: undefined,
      idle: undefined,
      yields: undefined,
      jobs: new Map<number, Job>(),
    }));
  }

  /** Starts the first thread soon, and has it warm up if there is no work for it by then. */
  warm(): void {
    const [first] = this.#threads;
    if (!this.#budget.warmsUp) return this.#warmUp.resolve();
    first!.idle = setTimeout(() => this.#post(first!, { kind: 'warm-up' }), warmUpAfterMs).unref();
  }

  /**
   * Ends the warm-up, or keeps it from beginning: the processor is needed for something else. What it has taken is
   * released when there is no work any more, however little there was.
   */
  attend(): void {
    const [first] = this.#threads;
    if (first!.worker === undefined) clearTimeout(first!.idle);
    else post(first!.worker, { kind: 'attend' });
    this.#warmUp.resolve();
    this.restSoon();
  }

  /** Resolves when the warm-up of the first thread is over; never if work came before. */
  get warmedUp(): Promise<void> {
    return this.#warmUp.promise;
  }

  /**
   * Writes the files of a layer's directory except its record. Rejects with the error class of what is wrong with the
   * table of contents.
   *
   * @param isAwaited whether a client waits: called until a thread begins
   */
  async plan(request: PlanRequest, isAwaited: () => boolean): Promise<Planned> {
    const result = await this.#run('plan', () => ({ kind: 'plan', request }), { first: 0, last: 0 }, 0, isAwaited);
    if ('planned' in result) return result.planned;
    const { code, message, hint } = errorOf(result);
    throw new LazypullError(code, message, { hint });
  }

  /** Makes a layer's disk file known to the threads. @returns the id for `unpack`, `verify` and `remove` */
  add(target: Omit<UnpackTarget, 'id'>): number {
    const id = this.#nextTarget++;
    this.#targets.set(id, { ...target, id });
    for (const { worker } of this.#threads) if (worker) post(worker, { kind: 'add', target: { ...target, id } });
    return id;
  }

  /** Forgets a target, which must have no jobs left. */
  remove(id: number): void {
    this.#targets.delete(id);
    for (const { worker } of this.#threads) if (worker) post(worker, { kind: 'remove', id });
  }

  /** Blob bytes that wait to be unpacked. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /**
   * Inflates, verifies and writes chunks [first, last) of a target.
   *
   * @param bytes the blob from `blobOffset` on, in shared memory
   * @param isAwaited whether readers wait: called until a thread begins. If so, failures have the content that the disk
   * refused
   * @returns the chunks that failed, with the reasons
   */
  async unpack(
    id: number,
    chunks: ChunkRange,
    bytes: Uint8Array,
    blobOffset: number,
    isAwaited: () => boolean,
  ): Promise<Failure[]> {
    const command = () => ({ kind: 'unpack', id, ...chunks, bytes, blobOffset, isAwaited: isAwaited() }) as const;
    return failuresOf(chunks, await this.#run('unpack', command, chunks, bytes.byteLength, isAwaited));
  }

  /**
   * Verifies those of the chunks [first, last) of a target that are on its disk. They are verified or absent after
   * that.
   *
   * @param isAwaited whether readers wait: called until a thread begins
   * @returns the chunks that are absent now, with the reasons
   */
  async verify(id: number, chunks: ChunkRange, isAwaited: () => boolean): Promise<Failure[]> {
    return failuresOf(
      chunks,
      await this.#run('verify', () => ({ kind: 'verify', id, ...chunks }), chunks, 0, isAwaited),
    );
  }

  /** Resolves when the threads have room for more blob bytes. */
  async room(): Promise<void> {
    while (this.#queuedBytes > this.#budget.queuedBytes) await new Promise<void>((resolve) => this.#room.push(resolve));
  }

  /** Releases memory when there has been no work for a while, however little was done before. */
  restSoon(): void {
    const [first] = this.#threads;
    this.#unrestedBytes = restAfterBytes;
    this.#rest(first!);
  }

  /** Ends the threads after their present jobs; waiting jobs fail. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { idle } of this.#threads) clearTimeout(idle);
    await Promise.all(this.#threads.flatMap(({ worker }) => (worker ? endWorker(worker) : [])));
  }

  #run(
    kind: JobCommand['kind'],
    command: () => JobCommand,
    chunks: ChunkRange,
    bytes: number,
    isAwaited: () => boolean,
  ): Promise<JobResult> {
    this.#queuedBytes += bytes;
    return new Promise((settle) => {
      this.#waiting.push({ kind, command, chunks, bytes, isAwaited, settle });
      this.#handOut();
    });
  }

  /** Gives waiting jobs to the existing threads, and starts another one if many wait. */
  #handOut(): void {
    if (this.#closed) return;
    for (const thread of this.#threads) {
      while (thread.isFirst || thread.worker !== undefined || this.#isHelpWorthwhile) {
        const job = this.#nextFor(thread);
        if (job === undefined) break;
        clearTimeout(thread.idle);
        const id = this.#nextJob++;
        thread.jobs.set(id, job);
        this.#post(thread, { kind: 'job', job: id, command: job.command() });
      }
    }
  }

  get #isHelpWorthwhile(): boolean {
    return this.#waiting.reduce((sum, { bytes }) => sum + bytes, 0) > helpAfterBytes;
  }

  /** Takes the next job for a thread; undefined if it has enough, or if there is none for it. */
  #nextFor(thread: Thread): Job | undefined {
    // No job may wait behind a plan, which takes long.
    const hasPlan = [...thread.jobs.values()].some(({ kind }) => kind === 'plan');
    if (hasPlan || thread.jobs.size >= jobsAtOnce) return undefined;
    const isFor = (job: Job): boolean => thread.isFirst || job.kind !== 'plan';
    let index = this.#waiting.findIndex((job) => isFor(job) && job.isAwaited());
    if (index < 0) index = this.#waiting.findIndex(isFor);
    return index < 0 ? undefined : this.#waiting.splice(index, 1)[0];
  }

  #post(thread: Thread, command: WorkerCommand): void {
    thread.worker ??= this.#start(thread);
    post(thread.worker, command);
    if (command.kind === 'job') goFirst(thread);
  }

  #start(thread: Thread): Worker {
    const resourceLimits = thread.isFirst
      ? { maxOldGenerationSizeMb: this.#budget.planHeapMb, maxYoungGenerationSizeMb: firstYoungMb }
      : otherLimits;
    const worker = new Worker(workerUrl(import.meta.url, './worker'), {
      resourceLimits,
      workerData: {
        unsyncedBytes: this.#budget.unsyncedBytes,
        formats: this.#formats.modules,
        fronts: this.#fronts.modules,
      } satisfies WorkerPoolData,
    });
    for (const target of this.#targets.values()) post(worker, { kind: 'add', target });
    worker.on('message', (answer: WorkerAnswer) => {
      if ('rested' in answer) void trimMemory();
      else if ('yields' in answer) {
        thread.yields = answer.yields;
        if (thread.jobs.size > 0) goFirst(thread);
      } else if ('warmedUp' in answer) {
        thread.yields = undefined;
        this.#warmUp.resolve();
      } else this.#settle(thread, answer.job, answer.result);
    });
    worker.once('error', (error) => this.#lost(thread, worker, error));
    worker.once('exit', (code) => {
      if (thread.worker === worker && !this.#closed) this.#lost(thread, worker, new Error(`exit code ${code}`));
    });
    return worker;
  }

  /** A thread has ended by itself: its jobs fail, and another thread gets the waiting ones. */
  #lost(thread: Thread, worker: Worker, cause: unknown): void {
    this.#log.error({ error: messageOf(cause) }, 'a thread that works on layers ended with an error');
    if (thread.worker === worker) thread.worker = thread.yields = undefined;
    for (const [id, job] of thread.jobs) this.#settle(thread, id, lostResult(job, cause));
  }

  #settle(thread: Thread, id: number, result: JobResult): void {
    const job = thread.jobs.get(id);
    if (job === undefined) return;
    thread.jobs.delete(id);
    this.#queuedBytes -= job.bytes;
    this.#pressure.dropped(job.bytes);
    this.#untrimmedBytes += job.bytes;
    this.#unrestedBytes += job.kind === 'plan' ? planBytes : job.bytes;
    if (this.#untrimmedBytes > this.#budget.trimBytes) {
      this.#untrimmedBytes = 0;
      if (!this.#budget.warmsUp) this.#pressure.collectNow();
      void trimMemory();
    }
    for (const resume of this.#room.splice(0)) resume();
    job.settle(result);
    this.#handOut();
    this.#rest(thread);
  }

  /** Lets a thread end, or release memory, if no work comes for a while. */
  #rest(thread: Thread): void {
    clearTimeout(thread.idle);
    const { worker } = thread;
    if (thread.jobs.size > 0 || worker === undefined || this.#closed) return;
    thread.idle = setTimeout(() => {
      if (!thread.isFirst) {
        thread.worker = undefined;
        void endWorker(worker).then(trimMemory);
      } else if (this.#unrestedBytes >= restAfterBytes) {
        this.buffers.clear();
        this.#pressure.rest();
        // On few processors, doing both at once would make either pause longer.
        thread.idle = setTimeout(() => this.#restFirst(worker), stepsMs).unref();
      }
    }, idleMs).unref();
  }

  #restFirst(worker: Worker): void {
    this.#unrestedBytes = 0;
    post(worker, { kind: 'rest' });
  }
}

/** Makes a thread finish its warm-up as fast as it can: there is work for it after that. */
function goFirst(thread: Thread): void {
  if (thread.yields !== undefined) goFirstAgain(thread.yields);
  thread.yields = undefined;
}

function post(worker: Worker, command: WorkerCommand): void {
  worker.postMessage(command);
}

function lostResult({ kind, chunks }: Job, cause: unknown): JobResult {
  const message = messageOf(cause);
  if (kind === 'plan')
    return { error: { code: 'ResourceExhausted', message: `Cannot plan the layer's disk: ${message}` } };
  return { failures: chunksFailed(chunks, 'Unavailable', message) };
}

function failuresOf(chunks: ChunkRange, result: JobResult): Failure[] {
  if ('failures' in result) return result.failures;
  const { code, message } = errorOf(result);
  return chunksFailed(chunks, code, message);
}

function chunksFailed({ first, last }: ChunkRange, code: ErrorCode, message: string): Failure[] {
  return Array.from({ length: last - first }, (_, i) => ({ chunk: first + i, code, message }));
}

function errorOf(result: JobResult): JobError {
  return 'error' in result ? result.error : { code: 'Unknown', message: 'A thread gave an answer to another question' };
}

import { MessageChannel, Worker } from 'node:worker_threads';
import { LazypullError, messageOf } from '../../errors.ts';
import { trimMemory } from '../../kernel/memory.ts';
import { BufferPressure } from '../../util/buffer-pressure.ts';
import { endWorker, type RestCommand } from '../../util/end-worker.ts';
import { workerUrl } from '../../util/worker-url.ts';
import type { Pulled, PullTarget } from './pull-into.ts';
import type { InflateAnswer, InflateCommand } from './inflate-worker.ts';
import type { PullAnswer, PullCommand, PullWorkerData } from './pull-worker.ts';
import { linkMemory } from './tar-link.ts';

/** Size of the pieces for a thread, and how many of them it has or waits for. */
const slotBytes = 1 << 20;
const slots = 4;

/** A thread that had nothing to do for so long gives memory back, and for so long ends. */
const restMs = 5_000;
const idleMs = 10_000;

/**
 * Bounds of a thread's heap in MB. The decompressing thread holds next to nothing, the other one the entries of one
 * layer.
 */
const youngMb = 8;
const inflateLimits = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 };

interface Threads {
  readonly inflate: Worker;
  readonly pull: Worker;
  /** Memory for data on its way from one thread to the other. */
  linkMemory: Uint8Array;
}

interface Job {
  readonly id: number;
  readonly free: Uint8Array[];
  /** In the order in which the thread gets them. */
  readonly sent: Uint8Array[];
  readonly result: PromiseWithResolvers<Pulled>;
  onFree: (() => void) | undefined;
  isOver: boolean;
}

/**
 * Two threads that make layers of blobs, one at a time: one decompresses, the other one reads the tar, verifies and
 * writes. They start when there is work, and end after a while without it.
 */
export class PullThread {
  readonly #heapMb: number;
  readonly #fronts: readonly string[];
  readonly #onRest: () => void;
  readonly #memory: Uint8Array[] = [];
  #threads: Threads | undefined;
  #idle: NodeJS.Timeout | undefined;
  #job: Job | undefined;
  #nextJob = 0;

  /**
   * @param fronts `Fronts.modules`
   * @param onRest called when memory was dropped that this thread still holds until it collects
   */
  constructor(heapMb: number, fronts: readonly string[] = [], onRest: () => void = () => undefined) {
    this.#heapMb = heapMb;
    this.#fronts = fronts;
    this.#onRest = onRest;
  }

  /** Starts the threads, if they have ended: a layer will come soon. */
  start(): void {
    if (this.#threads !== undefined) return;
    this.#threads = this.#start();
    for (const worker of [this.#threads.inflate, this.#threads.pull]) worker.unref();
    this.#idle = setTimeout(() => void this.close(), idleMs).unref();
  }

  /**
   * Makes a layer of a blob. When this settles, the thread does not use the layer's files any more, whatever the result
   * is; the caller ends the blob.
   *
   * @throws what `pullInto` and `blob` throw; Canceled if `signal` aborts; Unavailable if the thread ends
   */
  async run(target: PullTarget, blob: AsyncIterable<Buffer>, signal: AbortSignal): Promise<Pulled> {
    signal.throwIfAborted();
    clearTimeout(this.#idle);
    const threads = (this.#threads ??= this.#start());
    const { inflate, pull, linkMemory: memory } = threads;
    for (const worker of [inflate, pull]) worker.ref();
    while (this.#memory.length < slots) this.#memory.push(new Uint8Array(new SharedArrayBuffer(slotBytes)));
    const cancelled = new Int32Array(new SharedArrayBuffer(4));
    const job: Job = {
      id: this.#nextJob++,
      free: [...this.#memory],
      sent: [],
      result: Promise.withResolvers(),
      onFree: undefined,
      isOver: false,
    };
    this.#job = job;
    let failure: { readonly error: unknown } | undefined;
    const cancel = (error: unknown): void => {
      failure ??= { error };
      Atomics.store(cancelled, 0, 1);
      post(inflate, { kind: 'over', job: job.id });
    };
    const onAbort = (): void => cancel(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const { port1: from, port2: to } = new MessageChannel();
    inflate.postMessage({ kind: 'inflate', job: job.id, cancelled, link: from, memory } satisfies InflateCommand, [
      from,
    ]);
    pull.postMessage({ kind: 'pull', job: job.id, target, cancelled, link: to, memory } satisfies PullCommand, [to]);
    feed(inflate, job, blob).catch(cancel);
    try {
      return await job.result.promise;
    } catch (error) {
      cancel(error);
      threads.linkMemory = linkMemory(); // the decompressing thread may not know of it yet
      throw failure?.error ?? error;
    } finally {
      job.isOver = true;
      job.onFree?.();
      signal.removeEventListener('abort', onAbort);
      this.#job = undefined;
      for (const worker of [inflate, pull]) worker.unref(); // with nothing to do they keep no process alive
      this.#idle = setTimeout(() => this.#rest(), restMs).unref();
    }
  }

  /**
   * Gives memory back. What the engine has learned stays: threads that are new take several times as long for a layer.
   */
  #rest(): void {
    this.#idle = setTimeout(() => void this.close().then(this.#onRest), idleMs - restMs).unref();
    const threads = this.#threads;
    if (threads === undefined) return;
    this.#memory.length = 0;
    threads.linkMemory = linkMemory();
    for (const worker of [threads.inflate, threads.pull]) worker.postMessage({ kind: 'rest' } satisfies RestCommand);
    this.#onRest();
  }

  /** Ends the threads, which must have no job. Another job starts them again. */
  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const threads = this.#threads;
    this.#threads = undefined;
    this.#memory.length = 0;
    if (threads === undefined) return;
    await Promise.all([endWorker(threads.inflate), endWorker(threads.pull)]);
    await trimMemory();
  }

  #start(): Threads {
    const inflate = new Worker(workerUrl(import.meta.url, './inflate-worker'), { resourceLimits: inflateLimits });
    const pull = new Worker(workerUrl(import.meta.url, './pull-worker'), {
      workerData: { fronts: this.#fronts } satisfies PullWorkerData,
      resourceLimits: { maxOldGenerationSizeMb: this.#heapMb, maxYoungGenerationSizeMb: youngMb },
    });
    const threads: Threads = { inflate, pull, linkMemory: linkMemory() };
    inflate.on('message', ({ job }: InflateAnswer) => this.#taken(job));
    pull.on('message', (answer: PullAnswer) => this.#take(answer));
    const lost = (other: Worker, cause: unknown): void => {
      if (this.#threads !== threads) return;
      this.#threads = undefined;
      void endWorker(other);
      const text = `A thread that pulls layers ended: ${messageOf(cause)}`;
      this.#job?.result.reject(new LazypullError('ResourceExhausted', text, { cause }));
    };
    for (const [worker, other] of [
      [inflate, pull],
      [pull, inflate],
    ] as const) {
      worker.once('error', (error) => lost(other, error));
      worker.once('exit', (code) => lost(other, new Error(`exit code ${code}`)));
    }
    return threads;
  }

  #take(answer: PullAnswer): void {
    const job = this.#job;
    if (job?.id !== answer.job) return;
    if ('pulled' in answer) job.result.resolve(answer.pulled);
    else {
      const { code, message, hint } = answer.error;
      job.result.reject(new LazypullError(code, message, hint === undefined ? {} : { hint }));
    }
  }

  #taken(id: number): void {
    const job = this.#job;
    if (job?.id !== id) return;
    job.free.push(job.sent.shift()!);
    job.onFree?.();
  }
}

/** Passes a blob on to a thread, as fast as the thread takes it. */
async function feed(worker: Worker, job: Job, blob: AsyncIterable<Buffer>): Promise<void> {
  let slot: Uint8Array | undefined;
  let filled = 0;
  const pressure = new BufferPressure(true);
  const send = (): void => {
    if (slot === undefined || job.isOver) return;
    job.sent.push(slot);
    post(worker, { kind: 'bytes', job: job.id, bytes: slot.subarray(0, filled) });
    slot = undefined;
    filled = 0;
  };
  for await (const data of blob) {
    for (let at = 0; at < data.length; ) {
      while (job.free.length === 0 && slot === undefined && !job.isOver) {
        await new Promise<void>((resolve) => (job.onFree = resolve));
      }
      if (job.isOver) return;
      slot ??= job.free.pop()!;
      const part = data.subarray(at, at + slotBytes - filled);
      slot.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled === slotBytes) send();
    }
    pressure.dropped(data.length);
  }
  send();
  if (!job.isOver) post(worker, { kind: 'over', job: job.id });
}

function post(worker: Worker, command: InflateCommand): void {
  worker.postMessage(command);
}

import { Worker } from 'node:worker_threads';
import { LazypullError, messageOf } from '../../errors.ts';
import { trimMemory } from '../../kernel/memory.ts';
import { endWorker } from '../../util/end-worker.ts';
import { workerUrl } from '../../util/worker-url.ts';
import type { Pulled, PullTarget } from './pull-into.ts';
import type { PullAnswer, PullCommand } from './pull-worker.ts';

/** What a thread gets at a time, and how many of these it has or waits for. */
const slotBytes = 1 << 20;
const slots = 4;

/** A thread that had nothing to do for so long ends. */
const idleMs = 3000;

/** Bounds of a thread's heap in MB: it holds the entries of one layer. */
const youngMb = 8;

interface Job {
  readonly id: number;
  readonly free: Uint8Array[];
  /** In the order in which the thread has them. */
  readonly sent: Uint8Array[];
  readonly result: PromiseWithResolvers<Pulled>;
  onFree: (() => void) | undefined;
  isOver: boolean;
}

/** A thread that makes layers of blobs, one at a time. It is started when there is work, and ends when there was none for a while. */
export class PullThread {
  readonly #heapMb: number;
  readonly #memory: Uint8Array[] = [];
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #job: Job | undefined;
  #nextJob = 0;

  constructor(heapMb: number) {
    this.#heapMb = heapMb;
  }

  /**
   * Makes a layer of a blob. When this settles the thread is done with the layer's files, whatever came of it; the caller ends the blob.
   *
   * @throws what `pullInto` and `blob` throw; Canceled when `signal` aborts; Unavailable if the thread ends
   */
  async run(target: PullTarget, blob: AsyncIterable<Buffer>, signal: AbortSignal): Promise<Pulled> {
    signal.throwIfAborted();
    clearTimeout(this.#idle);
    const worker = (this.#worker ??= this.#start());
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
      post(worker, { kind: 'over', job: job.id });
    };
    const onAbort = (): void => cancel(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    post(worker, { kind: 'pull', job: job.id, target, cancelled });
    feed(worker, job, blob).catch(cancel);
    try {
      return await job.result.promise;
    } catch (error) {
      throw failure === undefined ? error : failure.error;
    } finally {
      job.isOver = true;
      job.onFree?.();
      signal.removeEventListener('abort', onAbort);
      this.#job = undefined;
      this.#idle = setTimeout(() => void this.close(), idleMs).unref();
    }
  }

  /** Ends the thread, which has no job. Another job starts it again. */
  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = undefined;
    this.#memory.length = 0;
    if (worker === undefined) return;
    await endWorker(worker);
    await trimMemory();
  }

  #start(): Worker {
    const worker = new Worker(workerUrl(import.meta.url, './pull-worker'), {
      resourceLimits: { maxOldGenerationSizeMb: this.#heapMb, maxYoungGenerationSizeMb: youngMb },
    });
    worker.on('message', (answer: PullAnswer) => this.#take(answer));
    const lost = (cause: unknown): void => {
      if (this.#worker === worker) this.#worker = undefined;
      const text = `The thread that pulls layers ended: ${messageOf(cause)}`;
      this.#job?.result.reject(new LazypullError('ResourceExhausted', text, { cause }));
    };
    worker.once('error', lost);
    worker.once('exit', (code) => lost(new Error(`exit code ${code}`)));
    return worker;
  }

  #take(answer: PullAnswer): void {
    const job = this.#job;
    if (job?.id !== answer.job) return;
    if ('pulled' in answer) job.result.resolve(answer.pulled);
    else if ('error' in answer) {
      const { code, message, hint } = answer.error;
      job.result.reject(new LazypullError(code, message, hint === undefined ? {} : { hint }));
    } else {
      job.free.push(job.sent.shift()!);
      job.onFree?.();
    }
  }
}

/** Passes a blob on to a thread, as fast as that takes it. */
async function feed(worker: Worker, job: Job, blob: AsyncIterable<Buffer>): Promise<void> {
  let slot: Uint8Array | undefined;
  let filled = 0;
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
  }
  send();
  if (!job.isOver) post(worker, { kind: 'over', job: job.id });
}

function post(worker: Worker, command: PullCommand): void {
  worker.postMessage(command);
}

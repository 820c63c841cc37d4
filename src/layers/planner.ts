import { Worker } from 'node:worker_threads';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import { LazypullError, messageOf } from '../errors.ts';
import { trimMemory } from '../kernel/memory.ts';
import { workerUrl } from '../util/worker-url.ts';
import type { PlanAnswer, PlanRequest } from './plan-worker.ts';

/** Bounds what a hostile table of contents can take: the thread ends with an error instead of the program. */
const maxHeapMb = 256;

/** A thread that had nothing to do for so long gives its memory back. */
const idleMs = 1000;

interface Pending {
  resolve(plan: { diskBytes: number; table: ChunkTable }): void;
  reject(error: Error): void;
}

/** Plans disks in a thread that is there only while layers are mounted. */
export class Planner {
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #nextId = 0;

  /** Starts the thread before there is work for it: it takes a while. */
  warm(): void {
    this.#worker ??= this.#start();
    this.#rest();
  }

  /** Writes the files of a layer's directory but its record. Rejects with the class of what is wrong with the table of contents. */
  plan(request: Omit<PlanRequest, 'id'>): Promise<{ diskBytes: number; table: ChunkTable }> {
    this.warm();
    clearTimeout(this.#idle);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker!.postMessage({ id, ...request } satisfies PlanRequest);
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(workerUrl(import.meta.url, './plan-worker'), {
      resourceLimits: { maxOldGenerationSizeMb: maxHeapMb, maxYoungGenerationSizeMb: 12 },
    });
    worker.unref();
    worker.on('message', (answer: PlanAnswer) => {
      const pending = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if ('error' in answer) pending?.reject(new LazypullError(answer.error.code, answer.error.message));
      else pending?.resolve(answer);
      if (this.#pending.size === 0) this.#rest();
    });
    worker.once('error', (error) => {
      if (this.#worker === worker) this.#worker = undefined;
      const failure = new LazypullError('ResourceExhausted', `Cannot plan the layer's disk: ${messageOf(error)}`);
      for (const pending of this.#pending.values()) pending.reject(failure);
      this.#pending.clear();
    });
    return worker;
  }

  #rest(): void {
    clearTimeout(this.#idle);
    if (this.#pending.size > 0) return;
    this.#idle = setTimeout(() => {
      const worker = this.#worker;
      this.#worker = undefined;
      void worker?.terminate().then(trimMemory);
    }, idleMs);
    this.#idle.unref();
  }
}

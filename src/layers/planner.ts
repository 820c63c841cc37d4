import { Worker } from 'node:worker_threads';
import { LazypullError, messageOf } from '../errors.ts';
import { trimMemory } from '../kernel/memory.ts';
import { workerUrl } from '../util/worker-url.ts';
import type { PlanAnswer, PlanCommand, Planned, PlanRequest } from './plan-worker.ts';

/** Bounds what a hostile table of contents can take: the thread ends with an error instead of the program. */
const maxHeapMb = 256;

/** A thread that had nothing to do for so long gives memory back. */
const idleMs = 1000;

/** The program serves before the thread takes a processor to rehearse. */
const rehearseAfterMs = 100;

interface Pending {
  resolve(plan: Planned): void;
  reject(error: Error): void;
}

/** Plans disks in a thread. It stays, because one that is new takes several times as long for its first layer. */
export class Planner {
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #nextId = 0;

  /** Starts the thread soon, and has it rehearse, if there is no work for it by then. */
  warm(): void {
    this.#idle = setTimeout(() => {
      this.#post({ kind: 'rehearse' });
      this.#rest();
    }, rehearseAfterMs);
    this.#idle.unref();
  }

  /** Writes the files of a layer's directory but its record. Rejects with the class of what is wrong with the table of contents. */
  plan(request: Omit<PlanRequest, 'id'>): Promise<Planned> {
    clearTimeout(this.#idle);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#post({ kind: 'plan', id, ...request });
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(workerUrl(import.meta.url, './plan-worker'), {
      resourceLimits: { maxOldGenerationSizeMb: maxHeapMb, maxYoungGenerationSizeMb: 6 },
    });
    worker.unref();
    worker.on('message', (answer: PlanAnswer) => {
      if ('rested' in answer) {
        void trimMemory();
        return;
      }
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

  #post(command: PlanCommand): void {
    this.#worker ??= this.#start();
    this.#worker.postMessage(command);
  }

  #rest(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#post({ kind: 'rest' });
    }, idleMs);
    this.#idle.unref();
  }
}

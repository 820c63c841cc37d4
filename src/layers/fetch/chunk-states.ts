import type { LazypullError } from '../../errors.ts';
import { residency } from '../../chunks/residency.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';

interface Waiter {
  /** @param content the content of the chunk, if the disk refused it */
  resolve(content: Uint8Array | undefined): void;
  reject(error: Error): void;
}

/** The states of a layer's chunks: which are here, which are being fetched, and which are waited for. */
export class ChunkStates {
  readonly #resident: Uint8Array;
  /** For each chunk, how many requests bring it. */
  readonly #inFlight: Uint8Array;
  readonly #waiters = new Map<number, Waiter[]>();
  /** Chunks that are fetched from another server, because one gave wrong bytes. */
  readonly #elsewhere = new Set<number>();

  /** @param resident the `residency` of each chunk. Others write it meanwhile */
  constructor(resident: Uint8Array) {
    this.#resident = resident;
    this.#inFlight = new Uint8Array(resident.length);
  }

  /** Whether the chunk is on the disk and verified. */
  isResident(chunk: number): boolean {
    return Atomics.load(this.#resident, chunk) === residency.verified;
  }

  /** Whether the chunk can be fetched: it is neither here nor being fetched. */
  isIdle(chunk: number): boolean {
    return this.#inFlight[chunk] === 0 && Atomics.load(this.#resident, chunk) === residency.absent;
  }

  /** Whether the chunk is on the disk, unverified, and not being verified now. */
  isUnverified(chunk: number): boolean {
    return this.#inFlight[chunk] === 0 && Atomics.load(this.#resident, chunk) === residency.unverified;
  }

  isComing(chunk: number): boolean {
    return this.#inFlight[chunk]! > 0;
  }

  /** Notes that chunks are being fetched: `arrives` must follow for each. */
  come({ first, last }: ChunkRange): void {
    for (let chunk = first; chunk < last; chunk++) this.#inFlight[chunk]!++;
  }

  /** Notes that a request has brought a chunk, or will not bring it. */
  arrives(chunk: number): void {
    this.#inFlight[chunk]!--;
  }

  /** Resolves when the chunk is resident, or else with its content; rejects with the error of `settle`. */
  wait(chunk: number): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(chunk);
      if (waiters === undefined) this.#waiters.set(chunk, [{ resolve, reject }]);
      else waiters.push({ resolve, reject });
    });
  }

  /** Whether any chunk is waited for. */
  get areAwaited(): boolean {
    return this.#waiters.size > 0;
  }

  isAwaited(chunk: number): boolean {
    return this.#waiters.has(chunk);
  }

  /** Whether one of some chunks is waited for. */
  isAnyAwaited({ first, last }: ChunkRange): boolean {
    if (this.#waiters.size === 0) return false;
    for (let chunk = first; chunk < last; chunk++) if (this.#waiters.has(chunk)) return true;
    return false;
  }

  /** Notes that a chunk is fetched from another server until it is settled: one server gave wrong bytes. */
  goElsewhere(chunk: number): void {
    this.#elsewhere.add(chunk);
  }

  isElsewhere(chunk: number): boolean {
    return this.#elsewhere.has(chunk);
  }

  /** Answers the waiters of a chunk: with an error, with its content if the disk refused it, or that it is resident. */
  settle(chunk: number, error?: LazypullError, content?: Uint8Array): void {
    this.#elsewhere.delete(chunk);
    const waiters = this.#waiters.get(chunk);
    if (waiters === undefined) return;
    this.#waiters.delete(chunk);
    for (const waiter of waiters) {
      if (error === undefined) waiter.resolve(content);
      else waiter.reject(error);
    }
  }
}

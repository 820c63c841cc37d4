import type { LazypullError } from '../../errors.ts';
import { residency } from '../../chunks/residency.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';

interface Waiter {
  /** @param content of the chunk, where the disk did not take it */
  resolve(content: Uint8Array | undefined): void;
  reject(error: Error): void;
}

/** The chunks of a layer: which are here, which are on their way, and who waits for them. */
export class ChunkStates {
  readonly #resident: Uint8Array;
  /** For each chunk, on how many ways it is coming. */
  readonly #inFlight: Uint8Array;
  readonly #waiters = new Map<number, Waiter[]>();
  /** Chunks of which one server gave wrong bytes, and that are fetched from another. */
  readonly #elsewhere = new Set<number>();

  /** @param resident the `residency` of each chunk. Written by others meanwhile */
  constructor(resident: Uint8Array) {
    this.#resident = resident;
    this.#inFlight = new Uint8Array(resident.length);
  }

  get length(): number {
    return this.#resident.length;
  }

  /** Whether the chunk is on the disk, and is what it should be. */
  isResident(chunk: number): boolean {
    return Atomics.load(this.#resident, chunk) === residency.verified;
  }

  /** Whether the chunk can be fetched: it is neither here nor on its way. */
  isIdle(chunk: number): boolean {
    return this.#inFlight[chunk] === 0 && Atomics.load(this.#resident, chunk) === residency.absent;
  }

  /** Whether the chunk is on the disk, and nobody looks just now whether it is what it should be. */
  isUnverified(chunk: number): boolean {
    return this.#inFlight[chunk] === 0 && Atomics.load(this.#resident, chunk) === residency.unverified;
  }

  isComing(chunk: number): boolean {
    return this.#inFlight[chunk]! > 0;
  }

  /** Notes that chunks are on their way: each ends with `arrives`. */
  come({ first, last }: ChunkRange): void {
    for (let chunk = first; chunk < last; chunk++) this.#inFlight[chunk]!++;
  }

  /** Notes that a chunk has come on one of its ways, or will not come on it. */
  arrives(chunk: number): void {
    this.#inFlight[chunk]!--;
  }

  /** Resolves when the chunk is resident, or else with its content; rejects with the error that it is settled with. */
  wait(chunk: number): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(chunk);
      if (waiters === undefined) this.#waiters.set(chunk, [{ resolve, reject }]);
      else waiters.push({ resolve, reject });
    });
  }

  /** Whether somebody waits for any chunk. */
  get areAwaited(): boolean {
    return this.#waiters.size > 0;
  }

  isAwaited(chunk: number): boolean {
    return this.#waiters.has(chunk);
  }

  /** Whether somebody waits for one of some chunks. */
  isAnyAwaited({ first, last }: ChunkRange): boolean {
    if (this.#waiters.size === 0) return false;
    for (let chunk = first; chunk < last; chunk++) if (this.#waiters.has(chunk)) return true;
    return false;
  }

  /** Notes that a chunk, until it is settled, is fetched from another server: what one gave of it was wrong. */
  goElsewhere(chunk: number): void {
    this.#elsewhere.add(chunk);
  }

  isElsewhere(chunk: number): boolean {
    return this.#elsewhere.has(chunk);
  }

  /** Answers who waits for a chunk: with an error, with its content where the disk did not take it, or that it is resident. */
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

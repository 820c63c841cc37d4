import type { LazypullError } from '../../errors.ts';
import { residency } from '../../chunks/residency.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';

interface Waiter {
  /** @param content of the row, where the disk did not take it */
  resolve(content: Uint8Array | undefined): void;
  reject(error: Error): void;
}

/** The rows of a layer's chunk table: which are here, which are on their way, and who waits for them. */
export class Rows {
  readonly #resident: Uint8Array;
  /** For each row, on how many ways it is coming. */
  readonly #inFlight: Uint8Array;
  readonly #waiters = new Map<number, Waiter[]>();
  /** Rows of which one server gave wrong bytes, and that are fetched from another. */
  readonly #elsewhere = new Set<number>();

  /** @param resident the `residency` of each row. Written by others meanwhile */
  constructor(resident: Uint8Array) {
    this.#resident = resident;
    this.#inFlight = new Uint8Array(resident.length);
  }

  get length(): number {
    return this.#resident.length;
  }

  /** Whether the row is on the disk, and is what it should be. */
  isResident(row: number): boolean {
    return Atomics.load(this.#resident, row) === residency.verified;
  }

  /** Whether the row can be fetched: it is neither here nor on its way. */
  isIdle(row: number): boolean {
    return this.#inFlight[row] === 0 && Atomics.load(this.#resident, row) === residency.absent;
  }

  /** Whether the row is on the disk, and nobody looks just now whether it is what it should be. */
  isUnverified(row: number): boolean {
    return this.#inFlight[row] === 0 && Atomics.load(this.#resident, row) === residency.unverified;
  }

  isComing(row: number): boolean {
    return this.#inFlight[row]! > 0;
  }

  /** Notes that rows are on their way: each ends with `arrives`. */
  come({ first, last }: ChunkRange): void {
    for (let row = first; row < last; row++) this.#inFlight[row]!++;
  }

  /** Notes that a row has come on one of its ways, or will not come on it. */
  arrives(row: number): void {
    this.#inFlight[row]!--;
  }

  /** Resolves when the row is resident, or else with its content; rejects with the error that it is settled with. */
  wait(row: number): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(row);
      if (waiters === undefined) this.#waiters.set(row, [{ resolve, reject }]);
      else waiters.push({ resolve, reject });
    });
  }

  /** Whether somebody waits for any row. */
  get areAwaited(): boolean {
    return this.#waiters.size > 0;
  }

  isAwaited(row: number): boolean {
    return this.#waiters.has(row);
  }

  /** Whether somebody waits for one of some rows. */
  isAnyAwaited({ first, last }: ChunkRange): boolean {
    if (this.#waiters.size === 0) return false;
    for (let row = first; row < last; row++) if (this.#waiters.has(row)) return true;
    return false;
  }

  /** The same rows, those that somebody waits for first. */
  awaitedFirst({ first, last }: ChunkRange): ChunkRange[] {
    const awaited: ChunkRange[] = [];
    const others: ChunkRange[] = [];
    for (let row = first; row < last; row++) {
      const runs = this.#waiters.has(row) ? awaited : others;
      const run = runs.at(-1);
      if (run?.last === row) run.last++;
      else runs.push({ first: row, last: row + 1 });
    }
    return [...awaited, ...others];
  }

  /** Notes that a row, until it is settled, is fetched from another server: what one gave of it was wrong. */
  goElsewhere(row: number): void {
    this.#elsewhere.add(row);
  }

  isElsewhere(row: number): boolean {
    return this.#elsewhere.has(row);
  }

  /** Answers who waits for a row: with an error, with its content where the disk did not take it, or that it is resident. */
  settle(row: number, error?: LazypullError, content?: Uint8Array): void {
    this.#elsewhere.delete(row);
    const waiters = this.#waiters.get(row);
    if (waiters === undefined) return;
    this.#waiters.delete(row);
    for (const waiter of waiters) {
      if (error === undefined) waiter.resolve(content);
      else waiter.reject(error);
    }
  }
}

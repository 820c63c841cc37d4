import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { LazypullError } from '../../errors.ts';
import { residency } from '../../chunks/residency.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';
import type { WorkerPool } from '../workers/pool.ts';
import type { ChunkEvents } from '../fetch/chunk-events.ts';
import type { ChunkStates } from '../fetch/chunk-states.ts';

/**
 * Bytes on the disk that are verified at a time for a reader: at first; twice as much each time that a reader goes on
 * where the last one ended, up to the maximum.
 */
const minBytes = 1 << 20;
const maxBytes = 8 << 20;

export interface VerifierOptions extends Pick<ChunkEvents, 'onDamage'> {
  readonly table: ChunkTable;
  /** The `residency` of each chunk. The threads write it. */
  readonly resident: Uint8Array;
  readonly threads: WorkerPool;
  /** The layer's id in the pool. */
  readonly target: number;
}

/**
 * The result of a verification: how many chunks were on the disk, and how many of them were damaged and are absent now.
 */
export interface Verified {
  readonly chunks: number;
  readonly damaged: number;
}

/**
 * Verifies the data of a layer on the disk: data of an earlier life before it is read or in idle time, or everything
 * once more.
 */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #chunks: ChunkStates;
  readonly #miss: (chunk: number) => void;
  #nextChunk = 0;
  #readUpTo = 0;
  #readBytes = minBytes;

  /** @param miss is called for a chunk that a reader waits for and that must be fetched */
  constructor(options: VerifierOptions, chunks: ChunkStates, miss: (chunk: number) => void) {
    this.#options = options;
    this.#chunks = chunks;
    this.#miss = miss;
  }

  /** Verifies an unverified chunk, and the ones that are likely to be read after it. */
  async chunk(chunk: number): Promise<void> {
    this.#readBytes = chunk === this.#readUpTo ? Math.min(this.#readBytes * 2, maxBytes) : minBytes;
    const chunks = this.#unverifiedFrom(chunk, this.#readBytes);
    this.#readUpTo = chunks.last;
    await this.#verify(chunks);
  }

  /** Verifies some chunks that were not read in this life. @returns their bytes; 0 if there are none left */
  async some(): Promise<number> {
    const { length, size } = this.#options.table;
    while (this.#nextChunk < length && !this.#chunks.isUnverified(this.#nextChunk)) this.#nextChunk++;
    const chunks = this.#unverifiedFrom(this.#nextChunk, maxBytes);
    await this.#verify(chunks);
    return size.subarray(chunks.first, chunks.last).reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Verifies every chunk on the disk again. @param signal ends it after the present step */
  async all(signal: AbortSignal): Promise<Verified> {
    const { length, size } = this.#options.table;
    const found = { chunks: 0, damaged: 0 };
    for (let first = 0; first < length && !signal.aborted; ) {
      let last = first;
      for (let bytes = 0; last < length && bytes < maxBytes && !this.#chunks.isComing(last); last++)
        bytes += size[last]!;
      if (last > first) {
        const { chunks, damaged } = await this.#verify({ first, last });
        found.chunks += chunks;
        found.damaged += damaged;
      }
      first = Math.max(last, first + 1); // chunks that are being fetched are verified when they arrive
    }
    return found;
  }

  /** The run of unverified chunks from `first` on, up to some bytes. Empty if that chunk is not unverified. */
  #unverifiedFrom(first: number, enough: number): ChunkRange {
    const { length, size } = this.#options.table;
    let last = first;
    for (let bytes = 0; last < length && bytes < enough && this.#chunks.isUnverified(last); last++)
      bytes += size[last]!;
    return { first, last };
  }

  /**
   * Verifies those of some chunks that are on the disk. Damaged ones are fetched if a reader waits for them. Never
   * rejects.
   */
  async #verify({ first, last }: ChunkRange): Promise<Verified> {
    if (first === last) return { chunks: 0, damaged: 0 };
    const { threads, target, resident, onDamage } = this.#options;
    const chunks = this.#chunks;
    const present = resident
      .subarray(first, last)
      .reduce((count, state) => count + (state === residency.absent ? 0 : 1), 0);
    chunks.come({ first, last });
    const failures = await threads.verify(target, { first, last }, () => chunks.isAnyAwaited({ first, last }));
    for (let chunk = first; chunk < last; chunk++) chunks.arrives(chunk);
    const damaged = failures.filter(({ chunk }) => chunks.isIdle(chunk)).map(({ chunk }) => chunk);
    if (damaged.length > 0) onDamage(damaged);
    for (let chunk = first; chunk < last; chunk++) {
      if (chunks.isResident(chunk)) chunks.settle(chunk);
      else if (chunks.isUnverified(chunk))
        chunks.settle(chunk, new LazypullError('Unavailable', 'Cannot verify what is on the disk'));
      else if (chunks.isAwaited(chunk) && chunks.isIdle(chunk)) this.#miss(chunk);
    }
    return { chunks: present, damaged: damaged.length };
  }
}

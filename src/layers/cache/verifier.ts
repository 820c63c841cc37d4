import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { LazypullError } from '../../errors.ts';
import { residency } from '../../chunks/residency.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';
import type { LayerThreads } from '../workers/pool.ts';
import type { Rows } from '../fetch/chunk-states.ts';

/** Bytes on the disk that are verified at a time: for a reader, twice as much each time that a reader goes on where the last one ended, and at most. */
const minBytes = 1 << 20;
const maxBytes = 8 << 20;

export interface VerifierOptions {
  readonly table: ChunkTable;
  /** The `residency` of each row. Written by the threads. */
  readonly resident: Uint8Array;
  readonly threads: LayerThreads;
  /** The layer's id there. */
  readonly target: number;
  /** Called with rows that were on the disk and are not what they should be, or cannot be read. They are fetched when they are read again. */
  readonly onDamage: (rows: readonly number[]) => void;
}

/** What has been verified: how many rows were on the disk, and how many of them were damaged and are absent now. */
export interface Verified {
  readonly rows: number;
  readonly damaged: number;
}

/** Verifies what is on the disk of a layer: what an earlier life has left there, before it is read or whenever there is time, or all of it once more. */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #rows: Rows;
  readonly #miss: (row: number) => void;
  #nextRow = 0;
  #readUpTo = 0;
  #readBytes = minBytes;

  /** @param miss called with a row that somebody waits for, and that is to be fetched */
  constructor(options: VerifierOptions, rows: Rows, miss: (row: number) => void) {
    this.#options = options;
    this.#rows = rows;
    this.#miss = miss;
  }

  /** Verifies an unverified row, and what is likely to be read after it. */
  async row(row: number): Promise<void> {
    this.#readBytes = row === this.#readUpTo ? Math.min(this.#readBytes * 2, maxBytes) : minBytes;
    const rows = this.#unverifiedFrom(row, this.#readBytes);
    this.#readUpTo = rows.last;
    await this.#verify(rows);
  }

  /** Verifies some rows that nobody has read in this life. @returns their bytes; 0 when there are none left */
  async some(): Promise<number> {
    const { length, size } = this.#options.table;
    while (this.#nextRow < length && !this.#rows.isUnverified(this.#nextRow)) this.#nextRow++;
    const rows = this.#unverifiedFrom(this.#nextRow, maxBytes);
    await this.#verify(rows);
    return size.subarray(rows.first, rows.last).reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Verifies every row on the disk again. @param signal ends it after what it is at */
  async all(signal: AbortSignal): Promise<Verified> {
    const { length, size } = this.#options.table;
    const found = { rows: 0, damaged: 0 };
    for (let first = 0; first < length && !signal.aborted; ) {
      let last = first;
      for (let bytes = 0; last < length && bytes < maxBytes && !this.#rows.isComing(last); last++) bytes += size[last]!;
      if (last > first) {
        const { rows, damaged } = await this.#verify({ first, last });
        found.rows += rows;
        found.damaged += damaged;
      }
      first = Math.max(last, first + 1); // what is on its way is verified when it comes
    }
    return found;
  }

  /** The unverified rows that follow each other from `first` on, up to some bytes. Empty when that row is none. */
  #unverifiedFrom(first: number, enough: number): ChunkRange {
    const { length, size } = this.#options.table;
    let last = first;
    for (let bytes = 0; last < length && bytes < enough && this.#rows.isUnverified(last); last++) bytes += size[last]!;
    return { first, last };
  }

  /** Verifies what of some rows is on the disk. Those that are damaged are fetched if a reader waits for them. Never rejects. */
  async #verify({ first, last }: ChunkRange): Promise<Verified> {
    if (first === last) return { rows: 0, damaged: 0 };
    const { threads, target, resident, onDamage } = this.#options;
    const rows = this.#rows;
    const present = resident
      .subarray(first, last)
      .reduce((count, state) => count + (state === residency.absent ? 0 : 1), 0);
    rows.come({ first, last });
    const failures = await threads.verify(target, { first, last }, () => rows.isAnyAwaited({ first, last }));
    for (let row = first; row < last; row++) rows.arrives(row);
    const damaged = failures.filter(({ row }) => rows.isIdle(row)).map(({ row }) => row);
    if (damaged.length > 0) onDamage(damaged);
    for (let row = first; row < last; row++) {
      if (rows.isResident(row)) rows.settle(row);
      else if (rows.isUnverified(row))
        rows.settle(row, new LazypullError('Unavailable', 'Cannot verify what is on the disk'));
      else if (rows.isAwaited(row) && rows.isIdle(row)) this.#miss(row);
    }
    return { rows: present, damaged: damaged.length };
  }
}

import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { type Slab, slabBytes, type Slabs } from '../workers/buffer-pool.ts';
import { streamBytesNeeded } from '../workers/streams.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';

/** Whole rows and the blob bytes, from `blobOffset` on, that hold them. */
export interface Batch {
  readonly rows: ChunkRange;
  /** In a slab that threads share. */
  readonly bytes: Uint8Array;
  readonly blobOffset: number;
  /** To be called when nobody needs the bytes any more. */
  release(): void;
}

/** Gathers the bytes of a window as they arrive and gives out the rows that are whole. */
export class Assembler {
  /** The blob bytes [start, end) that the window needs. */
  readonly start: number;
  readonly end: number;
  readonly #table: ChunkTable;
  readonly #slabs: Slabs;
  readonly #last: number;
  #first: number;
  #ready: number;
  #slab: Slab | undefined;
  /** Where in the blob the slab begins, where what is not taken yet, and where what has not come. */
  #slabStart: number;
  #untaken: number;
  #received: number;

  constructor(table: ChunkTable, window: ChunkRange, slabs: Slabs) {
    this.#table = table;
    this.#slabs = slabs;
    this.#first = window.first;
    this.#ready = window.first;
    this.#last = window.last;
    this.start = table.streamOffset[window.first]!;
    this.end = this.start;
    for (let row = window.first; row < window.last; row++) {
      this.end = Math.max(this.end, this.endOf(row));
    }
    this.#slabStart = this.start;
    this.#untaken = this.start;
    this.#received = this.start;
  }

  /** Rows that are whole and not taken yet. */
  get ready(): ChunkRange {
    return { first: this.#first, last: this.#ready };
  }

  /** Rows that are not taken yet. */
  get missing(): ChunkRange {
    return { first: this.#first, last: this.#last };
  }

  /** Bytes that wait to be taken. */
  get waitingBytes(): number {
    return this.#received - this.#untaken;
  }

  /**
   * Takes bytes of the blob that follow what came before; they are copied. Where a slab is full that has whole rows in it, the rest is left for the next call: until
   * those are taken, each row that follows would have all of them copied.
   *
   * @returns how many it took, or left out because they are beyond the window
   */
  push(piece: Uint8Array): number {
    const wanted = piece.subarray(0, this.end - this.#received);
    for (let at = 0; at < wanted.length; ) {
      const slab = this.#room();
      const slabEnd = this.#slabStart + slab.bytes.length;
      const part = wanted.subarray(at, at + slabEnd - this.#received);
      slab.bytes.set(part, this.#received - this.#slabStart);
      this.#received += part.length;
      at += part.length;
      while (this.#ready < this.#last && this.endOf(this.#ready) <= this.#received) this.#ready++;
      if (this.#received === slabEnd && this.#first < this.#ready && at < wanted.length) return at;
    }
    return piece.length;
  }

  /** The rows that are ready, of which there must be one at least. */
  take(): Batch {
    const rows = this.ready;
    const blobOffset = this.#table.streamOffset[rows.first]!;
    const slab = this.#slab!.hold();
    const bytes = slab.bytes.subarray(blobOffset - this.#slabStart, this.#received - this.#slabStart);
    this.#first = this.#ready;
    // The next row may share its stream with this one.
    this.#untaken =
      this.#first < this.#last ? Math.min(this.#table.streamOffset[this.#first]!, this.#received) : this.#received;
    return { rows, bytes, blobOffset, release: () => slab.release() };
  }

  /** Lets go of what was not taken. */
  close(): void {
    this.#slab?.release();
    this.#slab = undefined;
  }

  /** A slab with room for what comes next: where there is none, a new one with what was not taken yet. */
  #room(): Slab {
    const old = this.#slab;
    if (old !== undefined && this.#received < this.#slabStart + old.bytes.length) return old;
    // The next row whole, and no less than a common slab where so much is to come.
    const nextEnd = this.#ready < this.#last ? this.endOf(this.#ready) : this.end;
    const end = Math.max(nextEnd, Math.min(this.#untaken + slabBytes, this.end), this.#received + 1);
    const slab = this.#slabs.take(end - this.#untaken);
    if (old !== undefined) {
      slab.bytes.set(old.bytes.subarray(this.#untaken - this.#slabStart, this.#received - this.#slabStart));
      old.release();
    }
    this.#slabStart = this.#untaken;
    this.#slab = slab;
    return slab;
  }

  /** Where in the blob the bytes end that a row needs. */
  endOf(row: number): number {
    return streamBytesNeeded(this.#table, row).end;
  }
}

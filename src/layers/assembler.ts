import type { ChunkTable } from '../erofs/disk-plan.ts';
import { streamBytesNeeded } from './streams.ts';
import type { RowRange } from './windows.ts';

/** Whole rows and the blob bytes, from `blobOffset` on, that hold them. The bytes are in memory that threads share. */
export interface Batch {
  readonly rows: RowRange;
  readonly bytes: Uint8Array;
  readonly blobOffset: number;
}

/** Gathers the bytes of a window as they arrive and gives out the rows that are whole. */
export class Assembler {
  /** The blob bytes [start, end) that the window needs. */
  readonly start: number;
  readonly end: number;
  readonly #table: ChunkTable;
  readonly #last: number;
  #first: number;
  #ready: number;
  #pieces: Buffer[] = [];
  #piecesStart: number;
  #received: number;

  constructor(table: ChunkTable, window: RowRange) {
    this.#table = table;
    this.#first = window.first;
    this.#ready = window.first;
    this.#last = window.last;
    this.start = table.streamOffset[window.first]!;
    this.end = this.start;
    for (let row = window.first; row < window.last; row++) {
      this.end = Math.max(this.end, streamBytesNeeded(table, row).end);
    }
    this.#piecesStart = this.start;
    this.#received = this.start;
  }

  /** Rows that are whole and not taken yet. */
  get ready(): RowRange {
    return { first: this.#first, last: this.#ready };
  }

  /** Rows that are not taken yet. */
  get missing(): RowRange {
    return { first: this.#first, last: this.#last };
  }

  /** Bytes that wait to be taken. */
  get waitingBytes(): number {
    return this.#received - this.#piecesStart;
  }

  /** Takes the bytes of the blob that follow what came before. */
  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#received += piece.length;
    while (this.#ready < this.#last && streamBytesNeeded(this.#table, this.#ready).end <= this.#received) this.#ready++;
  }

  /** The rows that are ready, of which there must be one at least. */
  take(): Batch {
    const rows = this.ready;
    const joined = Buffer.concat(this.#pieces);
    const blobOffset = this.#table.streamOffset[rows.first]!;
    const bytes = shared(joined.subarray(blobOffset - this.#piecesStart));
    this.#first = this.#ready;
    // The next row may share its stream with this one.
    const kept =
      this.#first < this.#last ? Math.min(this.#table.streamOffset[this.#first]!, this.#received) : this.#received;
    this.#pieces = [joined.subarray(kept - this.#piecesStart)];
    this.#piecesStart = kept;
    return { rows, bytes, blobOffset };
  }
}

/** A copy of the bytes in memory that threads share. */
export function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

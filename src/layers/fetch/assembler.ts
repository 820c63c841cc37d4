import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { type PooledBuffer, pooledBytes, type BufferPool } from '../workers/buffer-pool.ts';
import type { BytesNeeded } from '../../formats/layer-format.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';

/** Complete chunks and the blob bytes, from `blobOffset` on, that hold them. */
export interface Batch {
  readonly chunks: ChunkRange;
  /** In a buffer that threads share. */
  readonly bytes: Uint8Array;
  readonly blobOffset: number;
  /** To be called when the bytes are not needed any more. */
  release(): void;
}

/** Collects the bytes of a window as they arrive and gives out complete chunks. */
export class Assembler {
  /** The blob bytes [start, end) that the window needs. */
  readonly start: number;
  readonly end: number;
  readonly #table: ChunkTable;
  readonly #bytesNeeded: BytesNeeded;
  readonly #buffers: BufferPool;
  readonly #last: number;
  #first: number;
  #ready: number;
  #buffer: PooledBuffer | undefined;
  /** Offsets in the blob: where the buffer begins, where untaken bytes begin, and where missing bytes begin. */
  #bufferStart: number;
  #untaken: number;
  #received: number;
  /** What had come when chunks were taken last. */
  #taken: number;

  constructor(table: ChunkTable, bytesNeeded: BytesNeeded, window: ChunkRange, buffers: BufferPool) {
    this.#table = table;
    this.#bytesNeeded = bytesNeeded;
    this.#buffers = buffers;
    this.#first = window.first;
    this.#ready = window.first;
    this.#last = window.last;
    this.start = table.streamOffset[window.first]!;
    this.end = this.start;
    for (let chunk = window.first; chunk < window.last; chunk++) {
      this.end = Math.max(this.end, this.endOf(chunk));
    }
    this.#bufferStart = this.start;
    this.#untaken = this.start;
    this.#received = this.start;
    this.#taken = this.start;
  }

  /** Chunks that are complete and not taken yet. */
  get ready(): ChunkRange {
    return { first: this.#first, last: this.#ready };
  }

  /** Chunks that are not taken yet. */
  get missing(): ChunkRange {
    return { first: this.#first, last: this.#last };
  }

  /** Bytes that have come since chunks were taken last. */
  get waitingBytes(): number {
    return this.#received - this.#taken;
  }

  /** Whether chunks that follow are in the same stream as the last one that is ready. */
  get isInsideStream(): boolean {
    const { streamOffset } = this.#table;
    return this.#ready < this.#last && streamOffset[this.#ready] === streamOffset[this.#ready - 1];
  }

  /**
   * Takes bytes of the blob that follow the previous ones, and copies them. If a buffer with complete chunks in it is
   * full, the rest is left for the next call: otherwise each further chunk would copy all of them.
   *
   * @returns how many bytes it took, or dropped because they are beyond the window
   */
  push(piece: Uint8Array): number {
    const wanted = piece.subarray(0, this.end - this.#received);
    for (let at = 0; at < wanted.length; ) {
      const buffer = this.#room();
      const bufferEnd = this.#bufferStart + buffer.bytes.length;
      const part = wanted.subarray(at, at + bufferEnd - this.#received);
      buffer.bytes.set(part, this.#received - this.#bufferStart);
      this.#received += part.length;
      at += part.length;
      while (this.#ready < this.#last && this.endOf(this.#ready) <= this.#received) this.#ready++;
      if (this.#received === bufferEnd && this.#first < this.#ready && at < wanted.length) return at;
    }
    return piece.length;
  }

  /** The chunks that are ready; there must be at least one. */
  take(): Batch {
    const chunks = this.ready;
    const blobOffset = this.#table.streamOffset[chunks.first]!;
    const buffer = this.#buffer!.hold();
    const bytes = buffer.bytes.subarray(blobOffset - this.#bufferStart, this.#received - this.#bufferStart);
    this.#first = this.#ready;
    this.#taken = this.#received;
    // The next chunk may share its stream with this one.
    this.#untaken =
      this.#first < this.#last ? Math.min(this.#table.streamOffset[this.#first]!, this.#received) : this.#received;
    return { chunks, bytes, blobOffset, release: () => buffer.release() };
  }

  /** Releases untaken bytes. */
  close(): void {
    this.#buffer?.release();
    this.#buffer = undefined;
  }

  /** A buffer with room for the next bytes. If there is none, it is a new one with the untaken bytes. */
  #room(): PooledBuffer {
    const old = this.#buffer;
    if (old !== undefined && this.#received < this.#bufferStart + old.bytes.length) return old;
    // All that is wanted of the next chunk's stream, and no less than a common buffer if so much is to come.
    const nextEnd = this.#endOfStream();
    const end = Math.max(nextEnd, Math.min(this.#untaken + pooledBytes, this.end), this.#received + 1);
    const buffer = this.#buffers.take(end - this.#untaken);
    if (old !== undefined) {
      buffer.bytes.set(old.bytes.subarray(this.#untaken - this.#bufferStart, this.#received - this.#bufferStart));
      old.release();
    }
    this.#bufferStart = this.#untaken;
    this.#buffer = buffer;
    return buffer;
  }

  /** Where in the blob the bytes end that the next chunk needs, and those of its stream that follow. */
  #endOfStream(): number {
    const { streamOffset } = this.#table;
    let end = this.#received;
    for (let chunk = this.#ready; chunk < this.#last && streamOffset[chunk] === streamOffset[this.#ready]; chunk++)
      end = Math.max(end, this.endOf(chunk));
    return end;
  }

  /** Where in the blob the bytes end that a chunk needs. */
  endOf(chunk: number): number {
    return this.#bytesNeeded(this.#table, chunk).end;
  }
}

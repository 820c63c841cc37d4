import { createHash, type Hash, hash } from 'node:crypto';
import { ChunkColumns, digestBytes } from '../../formats/chunk-columns.ts';
import type { Spans } from './written-spans.ts';

/** A reader waits for a whole chunk, and the thread that verifies it holds it in memory. */
const maxChunkBytes = 4 << 20;

/**
 * A piece of a file's data: where it stands in the tar and in the file, where it goes on the disk, and whether it is
 * the file's last one.
 */
export interface WrittenPiece {
  readonly data: Buffer;
  readonly tarOffset: number;
  readonly fileOffset: number;
  readonly diskOffset: number;
  readonly isLast: boolean;
}

/**
 * The chunks of files that are being written. Each is in one span, and without a gap in the tar, in its file and on the
 * disk.
 */
export class WrittenChunks {
  readonly #spans: Spans;
  readonly #columns = new ChunkColumns();
  #diskOffsets = new Float64Array(1024);
  #spanOfChunk = new Uint32Array(1024);
  /** The digest of the open chunk; undefined if there is none. */
  #hash: Hash | undefined;
  #tarEnd = 0;
  /** Where in the file that is being written the next index begins, if there is no hole before it. */
  #fileEnd = 0;
  #diskEnd = 0;
  /** How many rows are done. */
  #closed = 0;

  constructor(spans: Spans) {
    this.#spans = spans;
  }

  get length(): number {
    return this.#columns.length;
  }

  /** Adds data that does not cross the start of a span. */
  add({ data, tarOffset, fileOffset, diskOffset, isLast }: WrittenPiece): void {
    for (let at = 0; at < data.length; ) {
      const place = { tar: tarOffset + at, disk: diskOffset + at };
      if (!this.#goesOn(place)) this.#open(place, fileOffset + at);
      const index = this.length - 1;
      const room = maxChunkBytes - this.#columns.size[index]!;
      const part = data.subarray(at, at + room);
      at += part.length;
      this.#columns.size[index]! += part.length;
      this.#tarEnd = place.tar + part.length;
      this.#fileEnd = fileOffset + at;
      this.#diskEnd = place.disk + part.length;
      const isWhole = this.#hash === undefined && (part.length === maxChunkBytes || (isLast && at === data.length));
      if (isWhole) this.#columns.digest.set(hash('sha256', part, 'buffer'), index * digestBytes);
      else {
        this.#hash ??= createHash('sha256');
        this.#hash.update(part);
      }
    }
  }

  /** Ends the last file. */
  end(): void {
    this.#close();
    this.#fileEnd = 0;
  }

  /**
   * The chunks of all files, and their offsets on the disk. `dataEnd` is the byte of the blob after the last compressed
   * one.
   */
  finish(dataEnd: number): { columns: ChunkColumns; diskOffset: Float64Array } {
    this.#close();
    const { size, streamOffset, streamEnd } = this.#columns;
    for (let index = 0; index < this.length; index++) {
      const chunk = { streamOffset: streamOffset[index]!, size: size[index]! };
      streamEnd[index] = Math.min(streamEnd[index]!, this.#spans.endOf(this.#spanOfChunk[index]!, chunk, dataEnd));
    }
    return { columns: this.#columns, diskOffset: this.#diskOffsets };
  }

  /** Whether the next data belongs to the open chunk. */
  #goesOn({ tar, disk }: { tar: number; disk: number }): boolean {
    const index = this.length - 1;
    return (
      this.#hash !== undefined &&
      this.#tarEnd === tar &&
      this.#diskEnd === disk &&
      this.#columns.size[index]! < maxChunkBytes &&
      this.#spanOfChunk[index] === this.#spans.at(tar)
    );
  }

  #open({ tar, disk }: { tar: number; disk: number }, fileOffset: number): void {
    this.#close();
    const span = this.#spans.at(tar);
    const { streamOffset, innerOffset } = this.#spans.place(span, tar);
    const index = this.#columns.add(streamOffset, innerOffset, 0);
    if (index === this.#diskOffsets.length) this.#grow();
    this.#columns.hole[index] = fileOffset - this.#fileEnd;
    this.#diskOffsets[index] = disk;
    this.#spanOfChunk[index] = span;
  }

  #close(): void {
    if (this.length === this.#closed) return;
    const index = this.length - 1;
    this.#columns.streamEnd[index] = this.#spans.sufficientFor(this.#tarEnd);
    if (this.#hash !== undefined) this.#columns.digest.set(this.#hash.digest(), index * digestBytes);
    this.#hash = undefined;
    this.#closed = this.length;
  }

  #grow(): void {
    const diskOffsets = new Float64Array(this.#diskOffsets.length * 2);
    diskOffsets.set(this.#diskOffsets);
    this.#diskOffsets = diskOffsets;
    const spans = new Uint32Array(this.#spanOfChunk.length * 2);
    spans.set(this.#spanOfChunk);
    this.#spanOfChunk = spans;
  }
}

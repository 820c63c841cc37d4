import type { Compression } from '../../formats/blob-spans.ts';
import type { Mark } from './tar-stream.ts';

/**
 * A place where inflating can begin: a byte of the blob, from which on the output is the tar from `outputOffset` on.
 */
export interface SpanStart {
  readonly blobOffset: number;
  /** How many low bits of that byte belong to earlier data. */
  readonly bits: number;
  readonly outputOffset: number;
}

/** More than there are in a chunk and in what is on its way. Others pile up where a tar has no files. */
const maxMarks = 4096;

/**
 * The parts of a blob that can be read on their own, in order. A blob that is not gzip has one, or none that matters.
 */
export class Spans {
  readonly #compression: Compression;
  readonly #starts: SpanStart[] = [{ blobOffset: 0, bits: 0, outputOffset: 0 }];
  /** The last result: the next question is about the same span or a later one. */
  #last = 0;
  /** Those that are still asked for. */
  readonly #marks: Mark[] = [];

  constructor(compression: Compression) {
    this.#compression = compression;
  }

  add(start: SpanStart): void {
    this.#starts.push(start);
  }

  /** Adds a mark, the next one of the blob. */
  mark(mark: Mark): void {
    if (this.#marks.length === maxMarks) this.#marks.pop(); // the one behind it does, too
    this.#marks.push(mark);
  }

  /**
   * How much of the blob suffices for the tar before `tarOffset`, as far as marks tell. Questions come in ascending
   * order.
   */
  sufficientFor(tarOffset: number): number {
    while (this.#marks.length > 0 && this.#marks[0]!.outputOffset < tarOffset) this.#marks.shift();
    return this.#marks[0]?.blobOffset ?? Number.POSITIVE_INFINITY;
  }

  /** The number of the span of a byte of the tar. Questions come in ascending order. */
  at(tarOffset: number): number {
    while (this.#last + 1 < this.#starts.length && this.#starts[this.#last + 1]!.outputOffset <= tarOffset)
      this.#last++;
    return this.#last;
  }

  /**
   * The place of a chunk that starts at a byte of the tar, in the terms of a chunk table. In an uncompressed tar each
   * chunk is a stream of its own.
   */
  place(span: number, tarOffset: number): { streamOffset: number; innerOffset: number } {
    if (this.#compression === 'none') return { streamOffset: tarOffset, innerOffset: 0 };
    const { blobOffset, outputOffset } = this.#starts[span]!;
    return { streamOffset: blobOffset, innerOffset: tarOffset - outputOffset };
  }

  /** The byte after the last one that a chunk can need. */
  endOf(span: number, chunk: { streamOffset: number; size: number }, dataEnd: number): number {
    if (this.#compression === 'none') return chunk.streamOffset + chunk.size;
    const next = this.#starts[span + 1];
    return next === undefined ? dataEnd : next.blobOffset + (next.bits > 0 ? 1 : 0);
  }
}

import type { Compression } from '../../formats/spans.ts';

/** Where inflating can begin: at a byte of the blob, which gives the tar from `outputOffset` on. */
export interface SpanStart {
  readonly blobOffset: number;
  /** How many low bits of that byte belong to what is before. */
  readonly bits: number;
  readonly outputOffset: number;
}

/**
 * The parts of a blob that can be read on their own, in the order in which they come. What is no gzip has one, or none
 * that is worth its name.
 */
export class Spans {
  readonly #compression: Compression;
  readonly #starts: SpanStart[] = [{ blobOffset: 0, bits: 0, outputOffset: 0 }];
  /** What was asked for last: the next question is of the same span or a later one. */
  #last = 0;

  constructor(compression: Compression) {
    this.#compression = compression;
  }

  add(start: SpanStart): void {
    this.#starts.push(start);
  }

  /** The number of the span that a byte of the tar is in. Questions come in ascending order. */
  at(tarOffset: number): number {
    while (this.#last + 1 < this.#starts.length && this.#starts[this.#last + 1]!.outputOffset <= tarOffset)
      this.#last++;
    return this.#last;
  }

  /**
   * Where a chunk that starts at a byte of the tar begins, as a chunk table says it. Of a tar that is not compressed
   * each chunk is a stream of its own.
   */
  place(span: number, tarOffset: number): { streamOffset: number; innerOffset: number } {
    if (this.#compression === 'none') return { streamOffset: tarOffset, innerOffset: 0 };
    const { blobOffset, outputOffset } = this.#starts[span]!;
    return { streamOffset: blobOffset, innerOffset: tarOffset - outputOffset };
  }

  /** The byte after the last one that a chunk needs. */
  endOf(span: number, chunk: { streamOffset: number; size: number }, dataEnd: number): number {
    if (this.#compression === 'none') return chunk.streamOffset + chunk.size;
    const next = this.#starts[span + 1];
    return next === undefined ? dataEnd : next.blobOffset + (next.bits > 0 ? 1 : 0);
  }
}

import { constants, createInflateRaw } from 'node:zlib';
import { LazypullError } from '../../errors.ts';

/** How much is inflated at a time. */
const pieceBytes = 256 << 10;

/**
 * The output of a deflate stream that is too long to be held: it is read from front to back, and unneeded output is
 * dropped.
 */
export class StreamingInflate implements AsyncDisposable {
  readonly #pieces: AsyncIterator<Buffer>;
  #piece: Buffer = Buffer.alloc(0);
  /** The offset of `#piece` in the output. */
  #position = 0;

  /** @param deflate the stream from its first block on; its end may be missing */
  constructor(deflate: Buffer) {
    const inflater = createInflateRaw({ finishFlush: constants.Z_SYNC_FLUSH, chunkSize: pieceBytes });
    inflater.end(deflate);
    this.#pieces = inflater[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /**
   * Bytes [start, start + size) of the output, or fewer if it ends before. Throws DataLoss if `start` is before the end
   * of the last read.
   */
  async read(start: number, size: number): Promise<Buffer> {
    if (start < this.#position) throw new LazypullError('DataLoss', 'Two chunks share a part of the stream');
    const content = Buffer.allocUnsafeSlow(size);
    const end = start + size;
    for (let done = 0; ; ) {
      const pieceEnd = this.#position + this.#piece.length;
      const from = Math.max(start, this.#position);
      const to = Math.min(end, pieceEnd);
      if (from < to) done += this.#piece.copy(content, from - start, from - this.#position, to - this.#position);
      if (pieceEnd >= end) {
        this.#piece = this.#piece.subarray(end - this.#position);
        this.#position = end;
        return content;
      }
      const next = await this.#pieces.next();
      this.#position = pieceEnd;
      this.#piece = next.done ? Buffer.alloc(0) : next.value;
      if (next.done) return content.subarray(0, done);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pieces.return?.();
  }
}

import type { Blob } from '../../registry/blob/blob.ts';

interface Part {
  readonly start: number;
  readonly end: number;
}

/**
 * Ranges of a blob that are requested before their content is known: their answer is on its way while the index of the
 * layer is read. It waits in the connection, with a few hundred KB in memory, until exactly these ranges are read.
 */
export class EarlyRequest {
  readonly #parts: readonly Part[];
  readonly #controller = new AbortController();
  #answer: AsyncIterator<{ part: number; data: Buffer }> | undefined;
  readonly #first: Promise<IteratorResult<{ part: number; data: Buffer }>>;

  /** @param parts ascending, not adjacent */
  constructor(blob: Blob, parts: readonly Part[]) {
    this.#parts = parts;
    this.#answer = blob.ranges(parts, this.#controller.signal)[Symbol.asyncIterator]();
    this.#first = this.#answer.next();
    this.#first.catch(() => undefined); // the reader of the answer gets the error
  }

  /** The same blob as `blob`, which returns the answer to the first reader of the ranges. */
  of(blob: Blob): Blob {
    return {
      digest: blob.digest,
      tail: (bytes, signal, onBytes) => blob.tail(bytes, signal, onBytes),
      describe: (signal) => blob.describe(signal),
      range: (start, end, signal) => blob.range(start, end, signal),
      distrust: (askedMs) => blob.distrust(askedMs),
      ranges: (parts, signal) => {
        const answer = this.#answer;
        if (answer === undefined || !isSame(parts, this.#parts)) return blob.ranges(parts, signal);
        this.#answer = undefined;
        return { [Symbol.asyncIterator]: () => this.#taken(answer, signal) };
      },
    };
  }

  /** Ends the request unless its answer was taken. */
  abandon(): void {
    if (this.#answer === undefined) return;
    this.#answer = undefined;
    this.#controller.abort();
  }

  async *#taken(
    answer: AsyncIterator<{ part: number; data: Buffer }>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<{ part: number; data: Buffer }, void> {
    const abort = (): void => this.#controller.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      for (let next = await this.#first; !next.done; next = await answer.next()) yield next.value;
      signal?.throwIfAborted();
    } finally {
      signal?.removeEventListener('abort', abort);
      await answer.return?.();
    }
  }
}

function isSame(parts: readonly Part[], others: readonly Part[]): boolean {
  return (
    parts.length === others.length &&
    parts.every(({ start, end }, i) => start === others[i]!.start && end === others[i]!.end)
  );
}

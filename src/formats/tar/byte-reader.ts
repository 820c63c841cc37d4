/**
 * Reads exact numbers of bytes from a stream of buffers of any size. It copies only if a read spans two buffers. One
 * reader has one caller: reads do not overlap.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Buffer>;
  #buffer: Buffer = Buffer.alloc(0);
  #position = 0;
  #done = false;

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** How many bytes have been read. */
  get position(): number {
    return this.#position;
  }

  /** The next 1 to `max` bytes, as many as are available; an empty buffer at the end of the stream. */
  async readSome(max: number): Promise<Buffer> {
    while (this.#buffer.length === 0 && !this.#done) {
      const next = await this.#source.next();
      if (next.done) this.#done = true;
      else this.#buffer = next.value;
    }
    const data = this.#buffer.subarray(0, max);
    this.#buffer = this.#buffer.subarray(data.length);
    this.#position += data.length;
    return data;
  }

  /**
   * The next `bytes` bytes, or fewer if the stream ends before. The caller bounds `bytes`: all of them are held in
   * memory.
   */
  async read(bytes: number): Promise<Buffer> {
    const first = await this.readSome(bytes);
    if (first.length === bytes) return first;
    const parts = [first];
    let length = first.length;
    while (length < bytes) {
      const part = await this.readSome(bytes - length);
      if (part.length === 0) break;
      parts.push(part);
      length += part.length;
    }
    return Buffer.concat(parts, length);
  }

  /** Reads up to the end of the stream and drops it. */
  async drain(): Promise<void> {
    while ((await this.readSome(Number.MAX_SAFE_INTEGER)).length > 0);
  }

  /**
   * The stream from `head`, the last read bytes, on, in pieces of at most `max` bytes. Closes the reader at its end.
   */
  async *rest(head: Buffer, max: number): AsyncGenerator<Buffer> {
    try {
      if (head.length > 0) yield head;
      for (let data = await this.readSome(max); data.length > 0; data = await this.readSome(max)) yield data;
    } finally {
      await this.close();
    }
  }

  /** Ends the stream early. */
  async close(): Promise<void> {
    this.#done = true;
    this.#buffer = Buffer.alloc(0);
    await this.#source.return?.();
  }
}

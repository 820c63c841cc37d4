/** What most buffers hold, in bytes: two batches that threads get. */
export const pooledBytes = 1 << 20;

/** What is kept for later, in bytes: what is on its way at one time. */
const maxKeptBytes = 12 << 20;

/** Memory that threads share, and that is used again when nobody holds it any more. */
export class PooledBuffer {
  readonly bytes: Uint8Array;
  readonly #onFree: (bytes: Uint8Array) => void;
  #holders = 1;

  constructor(bytes: Uint8Array, onFree: (bytes: Uint8Array) => void) {
    this.bytes = bytes;
    this.#onFree = onFree;
  }

  /** One more holder, who must release it. */
  hold(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    if (--this.#holders === 0) this.#onFree(this.bytes);
  }
}

/**
 * Hands out buffers. Shared memory is not on V8's heap, so that what is dropped waits long for a collection, in each thread that has seen it; what is used again does not
 * pile up. Sizes are powers of two, so that one fits the next chunk too.
 */
export class BufferPool {
  readonly #kept = new Map<number, Uint8Array[]>();
  #keptBytes = 0;

  /** A buffer of at least so many bytes with one holder: the caller. What was in it before may still be there. */
  take(bytes: number): PooledBuffer {
    const isCommon = bytes > pooledBytes / 2;
    const size = isCommon ? 2 ** Math.ceil(Math.log2(bytes)) : bytes;
    const memory = this.#kept.get(size)?.pop();
    if (memory !== undefined) this.#keptBytes -= size;
    return new PooledBuffer(memory ?? new Uint8Array(new SharedArrayBuffer(size)), (free) => {
      if (isCommon) this.#keep(free);
    });
  }

  /** Drops what is kept for later. */
  clear(): void {
    this.#kept.clear();
    this.#keptBytes = 0;
  }

  /** Keeps memory for later. Where that becomes too much the largest goes. */
  #keep(memory: Uint8Array): void {
    const { length } = memory;
    const kept = this.#kept.get(length);
    if (kept === undefined) this.#kept.set(length, [memory]);
    else kept.push(memory);
    this.#keptBytes += length;
    while (this.#keptBytes > maxKeptBytes) {
      const largest = Math.max(...[...this.#kept].flatMap(([size, { length: count }]) => (count > 0 ? [size] : [])));
      this.#kept.get(largest)!.pop();
      this.#keptBytes -= largest;
    }
  }
}

/** Size of most buffers, in bytes: two batches for threads. */
export const pooledBytes = 1 << 20;

/** Maximum bytes that are kept for later: as many as are under way at one time. */
const maxKeptBytes = 12 << 20;

/** Memory that threads share. It is reused when it has no holder any more. */
export class PooledBuffer {
  readonly bytes: Uint8Array;
  readonly #onFree: (bytes: Uint8Array) => void;
  #holders = 1;

  constructor(bytes: Uint8Array, onFree: (bytes: Uint8Array) => void) {
    this.bytes = bytes;
    this.#onFree = onFree;
  }

  /** Adds a holder, which must release it. */
  hold(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    if (--this.#holders === 0) this.#onFree(this.bytes);
  }
}

/**
 * Hands out buffers. Shared memory is not on V8's heap, so a dropped buffer waits long for a collection, in each thread
 * that has seen it; reused buffers do not pile up. Sizes are powers of two, so that a buffer fits the next chunk too.
 */
export class BufferPool {
  readonly #kept = new Map<number, Uint8Array[]>();
  #keptBytes = 0;

  /** A buffer of at least so many bytes with one holder: the caller. It may still have its old content. */
  take(bytes: number): PooledBuffer {
    const isCommon = bytes > pooledBytes / 2;
    const size = isCommon ? 2 ** Math.ceil(Math.log2(bytes)) : bytes;
    const memory = this.#kept.get(size)?.pop();
    if (memory !== undefined) this.#keptBytes -= size;
    return new PooledBuffer(memory ?? new Uint8Array(new SharedArrayBuffer(size)), (free) => {
      if (isCommon) this.#keep(free);
    });
  }

  /** Drops the buffers that are kept for later. */
  clear(): void {
    this.#kept.clear();
    this.#keptBytes = 0;
  }

  /** Keeps memory for later. If there is too much, the largest buffer goes. */
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

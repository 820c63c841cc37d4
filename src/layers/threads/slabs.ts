/** What most slabs hold, in bytes: two batches that threads get. */
export const slabBytes = 1 << 20;

/** Slabs that are kept for later: what is on its way at one time. */
const maxKept = 12;

/** Memory that threads share, and that is used again when nobody holds it any more. */
export class Slab {
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

/** Hands out slabs. Shared memory is not on V8's heap, so that what is dropped waits long for a collection; what is used again does not pile up. */
export class Slabs {
  #kept: Uint8Array[] = [];

  /** A slab of at least so many bytes with one holder: the caller. What was in it before may still be there. */
  take(bytes: number): Slab {
    const isCommon = bytes > slabBytes / 2 && bytes <= slabBytes;
    const memory = isCommon ? this.#kept.pop() : undefined;
    return new Slab(memory ?? new Uint8Array(new SharedArrayBuffer(isCommon ? slabBytes : bytes)), (free) => {
      if (free.length === slabBytes && this.#kept.length < maxKept) this.#kept.push(free);
    });
  }

  /** Drops what is kept for later. */
  clear(): void {
    this.#kept = [];
  }
}

import { maxWindowBytes, spanKinds } from '../blob-spans.ts';
import type { Inflater } from './inflater.ts';
import { readSpan } from './read-span.ts';

/** 32 KiB of output have fewer bytes of data, unless there are very many blocks with next to nothing in them. */
const maxBytes = 48 << 10;

/**
 * Finds out which bytes of a window the data after its checkpoint refers to, usually a tenth of them, and sets the
 * others to zero: then a window takes a quarter of the space. It keeps the data until 32 KiB have been put out, which
 * is as far as references reach.
 */
export class WindowProbe {
  readonly #window: Uint8Array;
  readonly #bits: number;
  readonly #bytes = Buffer.allocUnsafeSlow(maxBytes);
  #length = 0;
  #output = 0;

  /**
   * @param window is changed
   * @param first if `bits` is not 0, the byte that contains them
   */
  constructor(window: Uint8Array, bits: number, first: number) {
    this.#window = window;
    this.#bits = bits;
    if (bits > 0) this.#bytes[this.#length++] = first;
  }

  /** Takes data that follows, and the size of its output. @returns whether that is enough to `clear` the window */
  take(bytes: Uint8Array, produced: number): boolean {
    const part = bytes.subarray(0, maxBytes - this.#length);
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
    this.#output += produced;
    return this.#length === maxBytes || this.#output >= maxWindowBytes;
  }

  /**
   * Sets to zero what is not referred to. Does nothing if the data so far does not tell. @param isEnd whether the
   * stream ends after that data
   */
  clear(inflater: Inflater, isEnd: boolean): void {
    if (!isEnd && this.#output < maxWindowBytes) return;
    const wanted = Math.min(this.#output, maxWindowBytes);
    const read = (marks: Uint8Array): Buffer => {
      const bytes = this.#bytes.subarray(0, this.#length);
      const window = marks.subarray(0, this.#window.length);
      return readSpan({ bytes, kind: spanKinds.window, bits: this.#bits, window, wanted }, inflater);
    };
    const low = read(lowMarks);
    const high = read(highMarks);
    if (low.length < wanted || high.length < wanted) return;
    const isUsed = new Uint8Array(maxWindowBytes);
    // If both marks give the same output, it is no reference, or one to a byte at which they are equal.
    for (let i = 0; i < wanted; i++) if (low[i] !== high[i]) isUsed[(high[i]! << 8) | low[i]!] = 1;
    for (let i = 0; i < this.#window.length; i++) {
      if (isUsed[i] === 0 && lowMarks[i] !== highMarks[i]) this.#window[i] = 0;
    }
  }
}

/** Windows in which each byte tells its place: the low and the high bits of it. */
const lowMarks = Uint8Array.from({ length: maxWindowBytes }, (_, i) => i & 0xff);
const highMarks = Uint8Array.from({ length: maxWindowBytes }, (_, i) => i >> 8);

import { LazypullError } from '../../errors.ts';

/** Writes numbers and bytes one after another into growing memory. */
export class NumberWriter {
  #bytes = Buffer.allocUnsafeSlow(initialBytes);
  #length = 0;

  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  /**
   * A whole number from 0 to 2^53 - 1: seven bits a byte, the lowest first, the highest bit of all bytes but the last
   * one set (LEB128).
   */
  number(value: number): void {
    this.#room(maxNumberBytes);
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
    this.#bytes[this.#length++] = rest;
  }

  bytes(value: Uint8Array): void {
    this.#room(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** Everything that was written. Nothing may be added after that. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.#length + bytes));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

const initialBytes = 64 << 10;

/** 53 bits. */
const maxNumberBytes = 8;

/** Reads the output of a `NumberWriter`. @throws DataLoss if it ends too early, or if a number is invalid */
export class NumberReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** How many bytes have not been read. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    if (this.left < 1) throw damaged('it ends too early');
    return this.#bytes[this.#at++]!;
  }

  /** The next number. If it is larger than `max`, `name` is in the error. */
  number(name: string, max = Number.MAX_SAFE_INTEGER): number {
    let value = 0;
    let scale = 1;
    for (let read = 0; ; read++) {
      if (read === maxNumberBytes) throw damaged(`the number "${name}" is too long`);
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      scale *= 0x80;
      if (byte < 0x80) break;
    }
    if (value <= max) return value;
    throw damaged(`the number "${name}" is ${value}, which is more than ${max}`);
  }

  /** The next bytes, not copied. */
  bytes(length: number): Buffer {
    if (this.left < length) throw damaged('it ends too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** `count` numbers. */
  column(name: string, count: number, max?: number): Float64Array {
    if (this.left < count) throw damaged('it ends too early');
    const column = new Float64Array(count);
    for (let i = 0; i < count; i++) column[i] = this.number(name, max);
    return column;
  }
}

/**
 * Maps a number of either sign to one that is not negative: 0, -1, 1, -2, 2, … are 0, 1, 2, 3, 4, …. For less than
 * 2^52.
 */
export function fold(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}

export function unfold(value: number): number {
  return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
}

export function damaged(what: string, cause?: unknown): LazypullError {
  return new LazypullError('DataLoss', `The layer index is damaged: ${what}`, cause === undefined ? {} : { cause });
}

import { crc32 } from 'node:zlib';
import { LazypullError } from '../../errors.ts';

/** Bits of the byte FLG. Others are reserved; no writer sets them, and readers ignore them. */
const flag = { headerCrc: 2, extra: 4, name: 8, comment: 16 };

const fixedBytes = 10;

/** No writer makes a longer name or comment. */
const maxTextBytes = 64 << 10;

type Part = 'fixed' | 'extraLength' | 'extra' | 'name' | 'comment' | 'crc' | 'done';

/** Reads the header of a gzip member (RFC 1952, 2.3) from a stream of pieces of any size. */
export class MemberHeader {
  #part: Part = 'fixed';
  #flags = 0;
  /** Bytes of the part that have been read. */
  #read = 0;
  /** Of numbers of two bytes. */
  #number = 0;
  #crc = 0;

  get isDone(): boolean {
    return this.#part === 'done';
  }

  /**
   * Takes what it needs of input[at …]. @returns the number of bytes. @throws DataLoss if it is not a header of gzip,
   * or its checksum is wrong
   */
  take(input: Uint8Array, at: number): number {
    let next = at;
    let summed = at;
    while (next < input.length && this.#part !== 'done') {
      if (this.#part === 'crc' && this.#read === 0) {
        this.#crc = crc32(input.subarray(summed, next), this.#crc);
        summed = next;
      }
      next += this.#part === 'extra' ? this.#skip(input.length - next) : this.#takeByte(input[next]!);
    }
    const isInCrc = this.#part === 'crc' && this.#read > 0;
    if (!isInCrc && this.#part !== 'done') this.#crc = crc32(input.subarray(summed, next), this.#crc);
    return next - at;
  }

  #takeByte(byte: number): 1 {
    const at = this.#read++;
    switch (this.#part) {
      case 'fixed':
        if (at < 3 && byte !== [0x1f, 0x8b, 8][at]) throw damaged('There is no gzip header');
        if (at === 3) this.#flags = byte;
        if (at === fixedBytes - 1) this.#next('fixed');
        break;
      case 'extraLength':
        this.#number |= byte << (8 * at);
        if (at === 1) this.#next(this.#number === 0 ? 'extra' : 'extraLength');
        break;
      case 'name':
      case 'comment':
        if (byte === 0) this.#next(this.#part);
        else if (at >= maxTextBytes) throw damaged('A text in the gzip header does not end');
        break;
      default:
        this.#number |= byte << (8 * at);
        if (at === 1 && this.#number !== (this.#crc & 0xffff))
          throw damaged('The checksum of the gzip header does not match');
        if (at === 1) this.#part = 'done';
    }
    return 1;
  }

  #skip(available: number): number {
    const skipped = Math.min(available, this.#number - this.#read);
    this.#read += skipped;
    if (this.#read === this.#number) this.#next('extra');
    return skipped;
  }

  /** Goes on with the part that follows `part` in this header. */
  #next(part: Part): void {
    if (part === 'extraLength') this.#part = 'extra';
    else {
      const following = parts.slice(parts.findIndex(([name]) => name === part) + 1);
      this.#part = following.find(([, bit]) => (this.#flags & bit) !== 0)?.[0] ?? 'done';
      this.#number = 0;
    }
    this.#read = 0;
  }
}

/** The parts after the fixed one, and their flags; `extra` comes after its length. */
const parts: readonly (readonly [Part, number])[] = [
  ['fixed', 0],
  ['extraLength', flag.extra],
  ['extra', 0],
  ['name', flag.name],
  ['comment', flag.comment],
  ['crc', flag.headerCrc],
];

function damaged(message: string): LazypullError {
  return new LazypullError('DataLoss', message);
}

import { LazypullError } from '../../errors.ts';
import type { ByteString } from '../layer-index.ts';

/** Maximum nesting of values that are skipped. */
const maxDepth = 64;

const quote = 0x22;
const comma = 0x2c;
const minus = 0x2d;
const slash = 0x2f;
const zero = 0x30;
const nine = 0x39;
const colon = 0x3a;
const openBracket = 0x5b;
const backslash = 0x5c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** The names of an object's members that a reader knows, found by a perfect hash. */
export class KeyTable {
  readonly #ids = new Int8Array(1 << 14).fill(-1);
  readonly #names: Buffer[];
  readonly #folded: ReadonlyMap<string, number>;

  /** Up to 127 names of 1 to 15 ASCII characters; the id of a name is its index. */
  constructor(names: readonly string[]) {
    this.#names = names.map((name) => Buffer.from(name, 'latin1'));
    for (const [id, name] of this.#names.entries()) {
      const hash = hashOf(name, 0, name.length);
      if (this.#ids[hash] !== -1) throw new Error(`Cannot tell the key "${names[id]}" from another`);
      this.#ids[hash] = id;
    }
    this.#folded = new Map(names.map((name, id) => [fold(name), id]));
  }

  /** The id of the name in `bytes` at [start, end), or -1. */
  find(bytes: Uint8Array, start: number, end: number): number {
    const id = start === end ? -1 : this.#ids[hashOf(bytes, start, end)]!;
    if (id < 0) return -1;
    const name = this.#names[id]!;
    if (name.length !== end - start) return -1;
    for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return -1;
    return id;
  }

  /**
   * The id of the name that Go's encoding/json would match with a member's name: the same one, or else one that differs
   * in case only; or -1.
   */
  findFolded(name: string): number {
    return this.#folded.get(fold(name)) ?? -1;
  }
}

/**
 * Folds a name as Go does to compare it with ASCII names: two letters of other alphabets are among the cases of "k" and
 * "s".
 */
function fold(name: string): string {
  return name
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase())
    .replaceAll('\u212a', 'k')
    .replaceAll('\u017f', 's');
}

function hashOf(bytes: Uint8Array, start: number, end: number): number {
  return ((end - start) & 15) | ((bytes[start]! & 31) << 4) | ((bytes[(start + end) >>> 1]! & 31) << 9);
}

/**
 * Reads JSON from bytes in one pass and creates only what is asked for. Strings keep their bytes, even if they are not
 * UTF-8; escapes become UTF-8. Numbers are integers. `null` stands for an absent value. Every method throws DataLoss if
 * the text is not JSON.
 */
export class JsonReader {
  readonly bytes: Buffer;
  /** The bytes between the quotes of the last string, and whether there are escapes in it. */
  start = 0;
  end = 0;
  escaped = false;
  #at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Enters an object. Then call `inObject(true)`, and after each member `inObject(false)`, until it returns false. */
  beginObject(): void {
    this.#expect(openBrace, 'an object');
  }

  /** Enters an array. Then call `inArray(true)`, and after each element `inArray(false)`, until it returns false. */
  beginArray(): void {
    this.#expect(openBracket, 'an array');
  }

  /** Whether another member follows; if not, leaves the object. */
  inObject(first: boolean): boolean {
    return this.#more(closeBrace, first);
  }

  /** Whether another element follows; if not, leaves the array. */
  inArray(first: boolean): boolean {
    return this.#more(closeBracket, first);
  }

  /** Reads a member's name up to its value. @returns its id, or -1 if the name is not in the table in any case */
  readKey(keys: KeyTable): number {
    this.readSpan();
    let id = this.escaped ? -1 : keys.find(this.bytes, this.start, this.end);
    if (id < 0) id = keys.findFolded(this.#text());
    this.#expect(colon, '":"');
    return id;
  }

  /** Reads a member's name up to its value, as bytes. */
  readName(): ByteString {
    const name = this.readString();
    this.#expect(colon, '":"');
    return name;
  }

  /** Reads `null` if it comes next. */
  readNull(): boolean {
    const at = this.#skipSpace();
    const { bytes } = this;
    const isNull = bytes[at] === 0x6e && bytes[at + 1] === 0x75 && bytes[at + 2] === 0x6c && bytes[at + 3] === 0x6c;
    if (isNull) this.#at = at + 4;
    return isNull;
  }

  /** Reads a string without creating one: sets `start`, `end` and `escaped`. */
  readSpan(): void {
    this.#expect(quote, 'a string');
    const { bytes } = this;
    const { length } = bytes;
    let at = this.#at;
    this.start = at;
    this.escaped = false;
    for (;;) {
      if (at >= length) throw this.#error('it ends in a string');
      const byte = bytes[at]!;
      if (byte === quote) break;
      if (byte === backslash) {
        this.escaped = true;
        at++;
      }
      at++;
    }
    this.end = at;
    this.#at = at + 1;
  }

  /**
   * @throws FailedPrecondition for the escape `\ufffd`, with which writers replace bytes that are not UTF-8: the
   * original is lost
   */
  readString(): ByteString {
    this.readSpan();
    return this.escaped ? this.#unescape() : this.bytes.toString('latin1', this.start, this.end);
  }

  /** An integer within ±(2^53 - 1). */
  readInteger(): number {
    let at = this.#skipSpace();
    const { bytes } = this;
    const negative = bytes[at] === minus;
    if (negative) at++;
    const first = at;
    let value = 0;
    for (let byte = bytes[at]!; byte >= zero && byte <= nine; byte = bytes[++at]!) value = value * 10 + (byte - zero);
    const next = bytes[at];
    this.#at = at;
    if (bytes[first] === zero && at > first + 1) throw this.#error('a number begins with 0');
    if (at === first || next === 0x2e || next === 0x65 || next === 0x45) throw this.#error('an integer is expected');
    if (!Number.isSafeInteger(value)) throw this.#error('a number is too large');
    return negative && value !== 0 ? -value : value;
  }

  /** Skips a value of any kind. */
  skipValue(): void {
    const closers: number[] = [];
    do {
      const byte = this.bytes[this.#skipSpace()];
      if (byte === openBrace || byte === openBracket) {
        if (closers.length === maxDepth) throw this.#error(`values are nested more than ${maxDepth} deep`);
        closers.push(byte + 2);
        this.#at++;
        this.#nextNested(closers, true);
      } else {
        if (byte === quote) this.readSpan();
        else this.#skipLiteral();
        this.#nextNested(closers, false);
      }
    } while (closers.length > 0);
  }

  /** Makes sure that only white space follows. */
  finish(): void {
    if (this.#skipSpace() < this.bytes.length) throw this.#error('something follows the end');
  }

  /** Leaves the open objects and arrays that end here, and steps to the next value of the first one that does not. */
  #nextNested(closers: number[], first: boolean): void {
    let isFirst = first;
    for (let closer = closers.at(-1); closer !== undefined; closer = closers.at(-1)) {
      if (this.#more(closer, isFirst)) {
        if (closer !== closeBrace) return;
        this.readSpan();
        this.#expect(colon, '":"');
        return;
      }
      closers.pop();
      isFirst = false;
    }
  }

  #skipLiteral(): void {
    const first = this.#at;
    for (let byte = this.bytes[this.#at]; byte !== undefined && isLiteral(byte); byte = this.bytes[++this.#at]);
    if (this.#at === first) throw this.#error('a value is expected');
  }

  #more(close: number, first: boolean): boolean {
    const byte = this.bytes[this.#skipSpace()];
    if (byte === close) {
      this.#at++;
      return false;
    }
    if (!first) this.#expect(comma, '","');
    return true;
  }

  #expect(byte: number, what: string): void {
    if (this.bytes[this.#skipSpace()] !== byte) throw this.#error(`${what} is expected`);
    this.#at++;
  }

  #skipSpace(): number {
    const { bytes } = this;
    let at = this.#at;
    for (let byte = bytes[at]; byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d; byte = bytes[++at]);
    this.#at = at;
    return at;
  }

  /** The last string, as Go reads it. */
  #text(): string {
    const text = this.bytes.toString('utf8', this.start, this.end);
    if (!this.escaped) return text;
    try {
      return String(JSON.parse(`"${text}"`));
    } catch {
      throw this.#error('a string has a malformed escape');
    }
  }

  #unescape(): ByteString {
    const { bytes, end } = this;
    const pieces: string[] = [];
    let from = this.start;
    for (let at = bytes.indexOf(backslash, from); at >= 0 && at < end; at = bytes.indexOf(backslash, from)) {
      pieces.push(bytes.toString('latin1', from, at));
      const char = bytes[at + 1]!;
      from = at + 2;
      if (char === 0x75) {
        let code = this.#hex4(from);
        from += 4;
        if (code >= 0xd800 && code <= 0xdbff && bytes[from] === backslash && bytes[from + 1] === 0x75) {
          const low = this.#hex4(from + 2);
          if (low >= 0xdc00 && low <= 0xdfff) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            from += 6;
          }
        }
        if (code === 0xfffd || (code >= 0xd800 && code <= 0xdfff)) {
          const text = bytes.toString('utf8', this.start, Math.min(end, this.start + 300));
          throw new LazypullError(
            'FailedPrecondition',
            `Cannot tell the name of "${text}": it is not UTF-8, and the table of contents has lost its bytes`,
          );
        }
        pieces.push(Buffer.from(String.fromCodePoint(code), 'utf8').toString('latin1'));
      } else {
        const plain = escapes[char];
        if (plain === undefined) throw this.#error('a string has an unknown escape');
        pieces.push(plain);
      }
    }
    pieces.push(bytes.toString('latin1', from, end));
    return pieces.join('');
  }

  #hex4(at: number): number {
    const digits = this.bytes.toString('latin1', at, at + 4);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#error('a string has a malformed escape');
    return Number.parseInt(digits, 16);
  }

  #error(what: string): LazypullError {
    return new LazypullError('DataLoss', `Cannot read JSON: ${what} at byte ${this.#at}`);
  }
}

const escapes: Readonly<Record<number, string>> = {
  [quote]: '"',
  [slash]: '/',
  [backslash]: '\\',
  0x62: '\b',
  0x66: '\f',
  0x6e: '\n',
  0x72: '\r',
  0x74: '\t',
};

/** Letters, digits and signs: the characters of numbers, true, false and null. */
function isLiteral(byte: number): boolean {
  return (
    (byte >= zero && byte <= nine) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x45 ||
    (byte >= 0x2b && byte <= 0x2e && byte !== comma)
  );
}

import type { Random } from './random.ts';

const maxMutations = 6;
const maxInputBytes = 256 * 1024;

/** Numbers at which bounds break. */
const numbers = ['0', '-1', '1', '255', '256', '4096', '65536', '2147483648', '4294967295', '4294967296']
  .concat(['9007199254740991', '9007199254740992', '18446744073709551615', '1e30', '0.5', '-0', '00', '077777777777'])
  .map((text) => Buffer.from(text));

/** The input with one to some mutations; `other` is another input, to be mixed into it. */
export function mutate(input: Buffer, other: Buffer, tokens: readonly Buffer[], random: Random): Buffer {
  let bytes: Buffer = Buffer.from(input);
  for (let left = 1 + random.below(maxMutations); left > 0; left--) bytes = mutateOnce(bytes, other, tokens, random);
  return bytes.length > maxInputBytes ? bytes.subarray(0, maxInputBytes) : bytes;
}

function mutateOnce(bytes: Buffer, other: Buffer, tokens: readonly Buffer[], random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  const some = Math.min(1 + random.below(random.below(4) === 0 ? 64 : 4), bytes.length - at);
  switch (random.below(11)) {
    case 0:
      if (at < bytes.length) bytes[at]! ^= 1 << random.below(8);
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = random.below(256);
      return bytes;
    case 2:
      return splice(bytes, at, some, empty);
    case 3:
      return splice(bytes, at, 0, bytes.subarray(at, at + some));
    case 4:
      return splice(bytes, at, some, random.pick(tokens.length > 0 ? tokens : numbers));
    case 5:
      return splice(bytes, at, 0, random.pick(tokens.length > 0 ? tokens : numbers));
    case 6:
      return replaceNumber(bytes, at, random);
    case 7:
      return bytes.subarray(0, at);
    case 8: {
      const from = random.below(other.length + 1);
      return splice(bytes, at, 0, other.subarray(from, from + random.below(200)));
    }
    case 9:
      return splice(bytes, at, 0, repeated(bytes.subarray(at, at + some), random));
    default:
      return splice(bytes, at, 0, Buffer.from([random.below(256)]));
  }
}

const empty = Buffer.alloc(0);

function repeated(piece: Buffer, random: Random): Buffer {
  const times = random.below(50) === 0 ? 5000 : random.below(40);
  return Buffer.alloc(Math.min(piece.length * times, maxInputBytes), piece.length === 0 ? 0 : piece);
}

function replaceNumber(bytes: Buffer, from: number, random: Random): Buffer {
  let start = from;
  while (start < bytes.length && !isDigit(bytes[start]!)) start++;
  let end = start;
  while (end < bytes.length && isDigit(bytes[end]!)) end++;
  return splice(bytes, start, end - start, random.pick(numbers));
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function splice(bytes: Buffer, at: number, removed: number, added: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);
}

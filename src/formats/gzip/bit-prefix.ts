/**
 * Turns deflate data that starts in the middle of a byte into data that starts at a byte: empty blocks before it fill
 * the bits that belong to earlier data. So a decoder that knows only whole bytes can read it.
 *
 * @param bytes the data, from the byte on that holds its first bit
 * @param bits how many low bits of that byte are not its own, 0 to 7
 */
export function alignToByte(bytes: Uint8Array, bits: number): Uint8Array {
  if (bits === 0 || bytes.length === 0) return bytes;
  const blocks = bits % 2 === 1 ? oddBlock + fixedBlock.repeat(((bits + 8 - 3) % 8) / 2) : fixedBlock.repeat(bits / 2);
  const wholeBytes = Math.floor(blocks.length / 8);
  const aligned = Buffer.allocUnsafeSlow(wholeBytes + bytes.length);
  for (let i = 0; i < wholeBytes; i++) aligned[i] = byteOf(blocks.slice(8 * i, 8 * i + 8));
  aligned.set(bytes, wholeBytes);
  const own = 0xff & (0xff << bits);
  aligned[wholeBytes] = (bytes[0]! & own) | byteOf(blocks.slice(8 * wholeBytes));
  return aligned;
}

/** Bits in the order of the stream: the first one is the lowest of its byte. */
function byteOf(bits: string): number {
  return Array.from(bits).reduce((byte, bit, i) => byte | (Number(bit) << i), 0);
}

/** A number as deflate writes it, the lowest bit first. */
function number(value: number, bits: number): string {
  return Array.from(value.toString(2).padStart(bits, '0')).toReversed().join('');
}

/**
 * An empty block with fixed Huffman codes, which is not the last one (RFC 1951, 3.2.6): 10 bits, two more than a byte.
 */
const fixedBlock = number(0, 1) + number(1, 2) + '0000000';

/** Lengths of code lengths, in the order in which a dynamic block has them (RFC 1951, 3.2.7), up to that of 1. */
const lengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1];

/**
 * An empty block with dynamic codes, which is not the last one: 91 bits, three more than bytes. Its code for lengths
 * knows "11 to 138 zeros" (18), coded as 1, and a length of 1, coded as 0. Of 257 literals only the end of the block
 * has a code, of one bit; two distances have one each.
 */
const oddBlock = [
  number(0, 1),
  number(2, 2),
  number(257 - 257, 5),
  number(2 - 1, 5),
  number(lengthOrder.length - 4, 4),
  ...lengthOrder.map((length) => number(length === 18 || length === 1 ? 1 : 0, 3)),
  '1' + number(138 - 11, 7),
  '1' + number(256 - 138 - 11, 7),
  '0',
  '00',
  '0',
].join('');

import { LazypullError } from '../../errors.ts';
import type { ByteString } from '../layer-index.ts';

/** Tar is made of blocks of this many bytes. */
export const blockBytes = 512;

/**
 * One raw header block: no PAX record and no GNU long name is applied. Strings are bytes; numbers are safe integers.
 */
export interface TarHeader {
  typeflag: string;
  name: ByteString;
  linkName: ByteString;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: number;
  userName: ByteString;
  groupName: ByteString;
  devMajor: number;
  devMinor: number;
}

/** Whether the block is all zeros, as the two blocks at the end of an archive. */
export function isZeroBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/**
 * Decodes one header block of the V7, ustar, GNU or star format (POSIX pax(1) "ustar Interchange Format"; GNU tar
 * manual, "Basic Tar Format").
 *
 * @param position offset of the block in the archive, for the message
 * @throws DataLoss if the checksum or a number is wrong
 */
export function decodeHeader(block: Buffer, position: number): TarHeader {
  checkSum(block, position);
  const magic = block.toString('latin1', 257, 265);
  const isUstar = magic.startsWith('ustar\0');
  const isGnu = magic === 'ustar  \0';
  const isStar = isUstar && block.toString('latin1', 508, 512) === 'tar\0';
  const typeflag = block.toString('latin1', 156, 157);
  const number = (name: string, start: number, end: number) => decodeNumber(block.subarray(start, end), name, position);
  const isDevice = typeflag === '3' || typeflag === '4';
  const hasPrefix = isUstar || (isGnu && hasPrefixForTimes(block));
  const prefix = hasPrefix ? cString(block, 345, isStar ? 476 : 500) : '';
  const name = cString(block, 0, 100);
  return {
    typeflag,
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: cString(block, 157, 257),
    mode: number('mode', 100, 108),
    uid: number('uid', 108, 116),
    gid: number('gid', 116, 124),
    size: number('size', 124, 136),
    mtime: decodeTime(block.subarray(136, 148), position),
    userName: isUstar || isGnu ? cString(block, 265, 297) : '',
    groupName: isUstar || isGnu ? cString(block, 297, 329) : '',
    devMajor: isDevice ? number('devmajor', 329, 337) : 0,
    devMinor: isDevice ? number('devminor', 337, 345) : 0,
  };
}

/**
 * Before version 1.8, Go wrote the prefix of ustar where GNU's format has two times. Its reader takes these fields for
 * the prefix if they are no numbers, and ASCII.
 */
function hasPrefixForTimes(block: Buffer): boolean {
  const times = [block.subarray(345, 357), block.subarray(357, 369)];
  const areTimes = times.every((field) => field[0] === 0 || !Number.isNaN(decodeField(field)));
  // oxlint-disable-next-line no-control-regex
  return !areTimes && /^[\x01-\x7f]*$/.test(cString(block, 345, 500));
}

/** A time that no file system can store is 0, as in containerd. */
function decodeTime(field: Buffer, position: number): number {
  const seconds = decodeField(field);
  return Number.isInteger(seconds) && !Number.isSafeInteger(seconds) ? 0 : decodeNumber(field, 'mtime', position);
}

/**
 * A ustar header for a file of root with mtime 0, by default a regular one. `name` has at most 100 bytes; `size` is
 * below 8 GiB.
 */
export function encodeFileHeader(name: string, size: number, typeflag = '0'): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, start: number, digits: number) =>
    block.write(value.toString(8).padStart(digits, '0'), start, 'latin1');
  block.write(name, 0, 'latin1');
  octal(0o444, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(0, 136, 11);
  block.write(typeflag, 156, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  octal(0, 329, 7);
  octal(0, 337, 7);
  return withChecksum(block);
}

/** Writes the checksum of a header block that was changed. */
export function withChecksum(block: Buffer): Buffer {
  block.fill(' ', 148, 156);
  block.write(sumOf(block).unsigned.toString(8).padStart(6, '0'), 148, 'latin1');
  block[154] = 0;
  return block;
}

/** 0 to 511: how many bytes fill `size` up to a whole block. */
export function paddingOf(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}

function checkSum(block: Buffer, position: number): void {
  const { unsigned, signed } = sumOf(block);
  const field = decodeNumber(block.subarray(148, 156), 'checksum', position);
  if (field === unsigned || field === signed) return;
  throw new LazypullError(
    'DataLoss',
    `Cannot read the tar archive at byte ${position}: the header checksum does not match; the layer is damaged or is not a tar archive`,
  );
}

/** The sum of all bytes, with spaces in place of the checksum. Some old writers summed signed bytes. */
function sumOf(block: Buffer): { unsigned: number; signed: number } {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < blockBytes; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : block.readUInt8(i);
    unsigned += byte;
    signed += byte < 128 ? byte : byte - 256;
  }
  return { unsigned, signed };
}

/** Octal text, or GNU's base-256 if the first bit is set (two's complement, big endian, without the first bit). */
export function decodeNumber(field: Buffer, name: string, position: number): number {
  const value = decodeField(field);
  if (Number.isSafeInteger(value)) return value;
  throw new LazypullError(
    'DataLoss',
    `Cannot read the tar archive at byte ${position}: the header field "${name}" is not a number in range`,
  );
}

function decodeField(field: Buffer): number {
  return field.readUInt8(0) & 0x80 ? decodeBase256(field) : decodeOctal(field);
}

function decodeOctal(field: Buffer): number {
  const text = field.toString('latin1').replace(/^[ \0]+/, '');
  const end = text.search(/[ \0]/);
  const digits = end === -1 ? text : text.slice(0, end);
  if (digits === '') return 0;
  return /^[0-7]+$/.test(digits) ? parseInt(digits, 8) : NaN;
}

function decodeBase256(field: Buffer): number {
  let value = BigInt(field.readUInt8(0) & 0x7f);
  for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
  const bits = field.length * 8 - 1;
  return Number(BigInt.asIntN(bits, value));
}

function cString(block: Buffer, start: number, end: number): ByteString {
  const text = block.toString('latin1', start, end);
  const nul = text.indexOf('\0');
  return nul === -1 ? text : text.slice(0, nul);
}

import { hash } from 'node:crypto';
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { LazypullError } from '../../errors.ts';
import { maxTocBytes } from '../limits.ts';
import { damaged } from './numbers.ts';

/** The first and the last bytes of a layer index. */
export const magic = Buffer.from('lzpindex', 'latin1');

/** What is written. It goes up with every change that an older reader cannot read. */
const version = 2;

/** Before it there were no holes, and chunks did not say where they end. */
const oldestVersion = 1;

/**
 * The footer: stored and decompressed length of the tail (4 bytes each), length of the file (8), sha256 of the stored
 * tail, version (4), zeros (4), magic. Little endian.
 */
export const footerBytes = 64;

const place = { storedBytes: 0, tailBytes: 4, fileBytes: 8, digest: 16, version: 48, magic: 56 };

/**
 * The end of a file whose start has `before` bytes: the compressed tail and the footer. @throws ResourceExhausted if no
 * reader would take it
 */
export function writeTail(tail: Buffer, before: number): Buffer {
  if (tail.length > maxTocBytes)
    throw new LazypullError('ResourceExhausted', 'The layer has too many files and spans for an index');
  const stored = deflateRawSync(tail, { memLevel: constants.Z_MAX_MEMLEVEL });
  const footer = Buffer.alloc(footerBytes);
  footer.writeUInt32LE(stored.length, place.storedBytes);
  footer.writeUInt32LE(tail.length, place.tailBytes);
  footer.writeBigUInt64LE(BigInt(before + stored.length + footerBytes), place.fileBytes);
  footer.set(hash('sha256', stored, 'buffer'), place.digest);
  footer.writeUInt32LE(version, place.version);
  footer.set(magic, place.magic);
  return Buffer.concat([stored, footer]);
}

/**
 * The offset of the tail of a layer index: a mount needs everything from there on.
 *
 * @param fileBytes length of the file
 * @param last its last bytes, at least `footerBytes` of them
 * @throws DataLoss if it is not a layer index; Unimplemented for a later version
 */
export function tailStart(fileBytes: number, last: Uint8Array): number {
  return fileBytes - footerBytes - readFooter(fileBytes, last).storedBytes;
}

interface Footer {
  readonly version: number;
  readonly storedBytes: number;
  readonly tailBytes: number;
  readonly digest: Buffer;
}

function readFooter(fileBytes: number, last: Uint8Array): Footer {
  if (last.length < footerBytes) throw damaged('it has no footer');
  const footer = Buffer.from(last.buffer, last.byteOffset + last.length - footerBytes, footerBytes);
  if (!footer.subarray(place.magic).equals(magic)) throw damaged('it has no footer');
  const found = footer.readUInt32LE(place.version);
  if (found < oldestVersion || found > version) {
    throw new LazypullError(
      'Unimplemented',
      `A layer index of version ${found} cannot be read, only those of version ${oldestVersion} to ${version}`,
    );
  }
  const storedBytes = footer.readUInt32LE(place.storedBytes);
  const tailBytes = footer.readUInt32LE(place.tailBytes);
  if (footer.readBigUInt64LE(place.fileBytes) !== BigInt(fileBytes)) throw damaged('it is cut off');
  if (magic.length + storedBytes + footerBytes > fileBytes) throw damaged('its tail is longer than the file');
  if (storedBytes > maxTocBytes || tailBytes > maxTocBytes) throw damaged('its tail is too long');
  return { version: found, storedBytes, tailBytes, digest: footer.subarray(place.digest, place.version) };
}

/**
 * The tail, where in the file it begins, and the version of the file.
 *
 * @param end all that lies in the file from `tailStart` on.
 * @throws as `tailStart`, and DataLoss for another digest
 */
export function readTail(fileBytes: number, end: Uint8Array): { tail: Buffer; start: number; version: number } {
  const { version: found, storedBytes, tailBytes, digest } = readFooter(fileBytes, end);
  if (end.length !== storedBytes + footerBytes)
    throw damaged(`its tail has ${storedBytes} bytes, not ${end.length - footerBytes}`);
  const stored = end.subarray(0, storedBytes);
  if (!hash('sha256', stored, 'buffer').equals(digest)) throw damaged('the digest of its tail does not match');
  let tail: Buffer;
  try {
    tail = inflateRawSync(stored, { maxOutputLength: tailBytes + 1, chunkSize: Math.max(64, tailBytes + 1) });
  } catch (cause) {
    throw damaged('its tail cannot be inflated', cause);
  }
  if (tail.length !== tailBytes) throw damaged('the length of its tail does not match');
  return { tail, start: fileBytes - end.length, version: found };
}

import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { type Digest, digestOfHex, isSha256 } from '../chunks/digest.ts';
import { LazypullError } from '../errors.ts';
import { type IndexArtifact, maxIndexBytes } from './artifact.ts';
import { type IndexOrigin, parseOrigin, parseSignature, parseTail } from './index-origin.ts';

/** The store's record of an index. It follows the index in the same file, so that both come and go together. */
export interface IndexRecord extends IndexArtifact {
  readonly origin: IndexOrigin;
  /** When it was stored, in milliseconds since 1970. */
  readonly keptMs: number;
}

const magic = Buffer.from('lpidxrec');
const footerBytes = 4 + magic.length;
const maxRecordBytes = 16 * 1024;
const pieceBytes = 1 << 20;

/** The bytes after the index: JSON, its length in 4 bytes (little endian), and 8 bytes that mark a file as complete. */
export function encodeRecord(record: IndexRecord): Buffer {
  const json = Buffer.from(JSON.stringify({ version: 1, ...record }));
  const footer = Buffer.alloc(footerBytes);
  footer.writeUInt32LE(json.length, 0);
  magic.copy(footer, 4);
  return Buffer.concat([json, footer]);
}

/**
 * Reads the record of an open file, but not the index.
 *
 * @throws DataLoss if the file is truncated, or does not belong to the store
 */
export async function readRecord(file: FileHandle, fileBytes: number): Promise<IndexRecord> {
  const footer = await readAt(file, fileBytes - footerBytes, fileBytes);
  const length = footer.readUInt32LE(0);
  const start = fileBytes - footerBytes - length;
  if (!footer.subarray(4).equals(magic) || length > maxRecordBytes || start < 1) throw damaged('it is not complete');
  const record = parseRecord(await readAt(file, start, start + length));
  if (record === undefined || record.size !== start) throw damaged('its record does not match it');
  return record;
}

function parseRecord(json: Buffer): IndexRecord | undefined {
  let value: Readonly<Record<string, unknown>>;
  try {
    value = JSON.parse(json.toString('utf8')) as typeof value;
  } catch {
    return undefined;
  }
  const { version, layer, digest, size, keptMs } = value;
  const origin = parseOrigin(value['origin']);
  const tail = parseTail(value['tail']);
  const signature = parseSignature(value['signature']);
  if (version !== 1 || origin === undefined || tail === undefined) return undefined;
  if (!isDigest(layer) || !isDigest(digest) || !isCount(size, maxIndexBytes)) return undefined;
  if (tail.bytes > size || !isCount(keptMs, Number.MAX_SAFE_INTEGER)) return undefined;
  return { layer, digest, size, tail, ...(signature === undefined ? {} : { signature }), origin, keptMs };
}

function isDigest(value: unknown): value is string {
  return typeof value === 'string' && isSha256(value);
}

function isCount(value: unknown, max: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= max;
}

/**
 * The bytes [start, end) of a file.
 *
 * @throws DataLoss if it ends before
 */
export async function readAt(file: FileHandle, start: number, end: number): Promise<Buffer> {
  if (start < 0) throw damaged('it is too short');
  const bytes = Buffer.allocUnsafe(end - start);
  for (let filled = 0; filled < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, start + filled);
    if (bytesRead === 0) throw damaged('it is too short');
    filled += bytesRead;
  }
  return bytes;
}

/**
 * The digest of the first bytes of a file.
 *
 * @throws DataLoss if it ends before
 */
export async function digestOfFile(file: FileHandle, bytes: number): Promise<Digest> {
  const hash = createHash('sha256');
  for (let start = 0; start < bytes; start += pieceBytes) {
    hash.update(await readAt(file, start, Math.min(start + pieceBytes, bytes)));
  }
  return digestOfHex(hash.digest('hex'));
}

export function damaged(what: string): LazypullError {
  return new LazypullError('DataLoss', `Cannot use a layer index: ${what}`);
}

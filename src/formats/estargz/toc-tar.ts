import { constants, gunzipSync } from 'node:zlib';
import { LazypullError, messageOf } from '../../errors.ts';
import { maxTocBytes } from '../limits.ts';
import { blockBytes, encodeFileHeader, paddingOf } from '../tar/header.ts';

/** The name of the file with the table of contents. */
export const tocName = 'stargz.index.json';

/**
 * Compressed bytes that are inflated to learn the size of the table of contents: enough for its tar headers, even if
 * they are not compressed well.
 */
const headCompressedBytes = 4096;

/** The largest output of one byte of a deflate stream, RFC 1951: 258 bytes for two bits. */
const maxInflation = 1032;

/** Maximum data after the table of contents in its gzip members: padding and the end-of-archive mark. */
const maxTrailingBytes = 64 * 1024;

/** The uncompressed tar archive of a table of contents. The pieces together are its JSON. */
export function tocTar(json: readonly Buffer[]): Buffer {
  const bytes = json.reduce((sum, piece) => sum + piece.length, 0);
  const end = Buffer.alloc(paddingOf(bytes) + 2 * blockBytes);
  return Buffer.concat([encodeFileHeader(tocName, bytes), ...json, end]);
}

/**
 * The JSON of an eStargz table of contents: the content of the tar entry `stargz.index.json` at the start of its gzip
 * members.
 *
 * @param compressed the gzip members from the footer's `tocOffset` on; data after them, or a missing end, does no harm
 * @param maxBytes maximum length of the JSON
 * @throws DataLoss if it is not that; ResourceExhausted if the JSON is longer than `maxBytes`
 */
export function tocJson(compressed: Uint8Array, maxBytes = maxTocBytes): Buffer {
  const head = findJson(inflate(compressed.subarray(0, headCompressedBytes), undefined));
  if (head.bytes > maxBytes) {
    throw new LazypullError(
      'ResourceExhausted',
      `The layer's table of contents has ${head.bytes} bytes: more than ${maxBytes}`,
    );
  }
  const end = head.offset + head.bytes;
  if (end > compressed.length * maxInflation) throw damaged(`${compressed.length} bytes cannot hold its ${head.bytes}`);
  const json = inflate(compressed, end + maxTrailingBytes).subarray(head.offset, end);
  if (json.length < head.bytes) throw damaged(`it ends after ${json.length} of ${head.bytes} bytes`);
  return json;
}

function inflate(compressed: Uint8Array, maxBytes: number | undefined): Buffer {
  const bound = maxBytes === undefined ? {} : { maxOutputLength: maxBytes, chunkSize: maxBytes };
  try {
    return gunzipSync(compressed, { finishFlush: constants.Z_SYNC_FLUSH, ...bound });
  } catch (error) {
    throw damaged(messageOf(error), error);
  }
}

interface TarContent {
  offset: number;
  bytes: number;
}

/**
 * Finds the content of the first file in the tar archive that starts with `head`. PAX and GNU headers may come before
 * it.
 */
function findJson(head: Buffer): TarContent {
  let paxBytes: number | undefined;
  let paxName: string | undefined;
  for (let at = 0; at + blockBytes <= head.length; ) {
    const offset = at + blockBytes;
    const type = String.fromCharCode(head[at + 156]!);
    const bytes = fieldNumber(head.subarray(at + 124, at + 136));
    if (type === 'x' || type === 'g' || type === 'L' || type === 'K') {
      const content = head.toString('latin1', offset, offset + bytes);
      if (type === 'L') paxName = content.replace(/\0.*$/s, '');
      if (type === 'x') {
        const size = /(?:^|\n)\d+ size=(\d{1,15})\n/.exec(content)?.[1];
        if (size !== undefined) paxBytes = Number(size);
        paxName = /(?:^|\n)\d+ path=([^\n]*)\n/.exec(content)?.[1] ?? paxName;
      }
      at = offset + Math.ceil(bytes / blockBytes) * blockBytes;
      continue;
    }
    const name = paxName ?? head.toString('latin1', at, at + 100).replace(/\0.*$/s, '');
    if (name.replace(/^(\.?\/)+/, '') !== tocName) throw damaged(`it is a file called "${name}"`);
    return { offset, bytes: paxBytes ?? bytes };
  }
  throw damaged('its tar header is missing');
}

/** A size field of a tar header: octal digits, or a big-endian number if the first bit is set. */
function fieldNumber(field: Buffer): number {
  const binary = (field[0]! & 0x80) !== 0;
  const digits = field
    .toString('latin1')
    .replace(/[ \0]+$/, '')
    .trimStart();
  const value = binary ? Number(field.readBigUInt64BE(4)) : Number.parseInt(digits === '' ? '0' : digits, 8);
  if (!Number.isSafeInteger(value) || value < 0) throw damaged('a tar header has no size');
  return value;
}

function damaged(what: string, cause?: unknown): LazypullError {
  return new LazypullError('DataLoss', `Cannot read the layer's table of contents: ${what}`, { cause });
}

import { LazypullError } from '../../errors.ts';
import { type JsonReader, KeyTable } from './json-reader.ts';
import type { ByteString, EntryType } from '../layer-index.ts';
import { maxTextBytes, xattrOverheadBytes } from '../limits.ts';
import { parseRfc3339, type Timestamp } from './rfc3339.ts';

/**
 * One row of a table of contents. One object is used for all rows: values that a row lacks are 0, '' or undefined. It
 * counts the text of all rows. (containerd/stargz-snapshotter, docs/estargz.md, "TOCEntry".)
 */
export class TocRow implements Timestamp {
  name: ByteString = '';
  type: EntryType | 'chunk' | '' = '';
  size = 0;
  seconds = 0;
  nanoseconds = 0;
  linkName: ByteString = '';
  mode = 0;
  uid = 0;
  gid = 0;
  offset = 0;
  innerOffset = 0;
  devMajor = 0;
  devMinor = 0;
  xattrs: Map<ByteString, Uint8Array> | undefined = undefined;
  chunkOffset = 0;
  chunkSize = 0;
  /**
   * The offsets in the JSON of the 64 hexadecimal digits of the file's and of the chunk's sha256 digest; 0 if there is
   * none.
   */
  digest = 0;
  chunkDigest = 0;
  #textBytes = 0;

  /** Counts bytes that the rows so far keep in memory. @throws ResourceExhausted above `maxTextBytes` */
  count(bytes: number): void {
    this.#textBytes += bytes;
    if (this.#textBytes > maxTextBytes) {
      throw new LazypullError(
        'ResourceExhausted',
        `The layer has more than ${maxTextBytes} bytes of names and attributes`,
      );
    }
  }

  clear(): void {
    this.name = '';
    this.type = '';
    this.size = 0;
    this.seconds = 0;
    this.nanoseconds = 0;
    this.linkName = '';
    this.mode = 0;
    this.uid = 0;
    this.gid = 0;
    this.offset = 0;
    this.innerOffset = 0;
    this.devMajor = 0;
    this.devMinor = 0;
    this.xattrs = undefined;
    this.chunkOffset = 0;
    this.chunkSize = 0;
    this.digest = 0;
    this.chunkDigest = 0;
  }
}

/**
 * Reads the next object into `row`, as Go's encoding/json does: the case of a member's name does not matter, the last
 * of several counts, and `null` changes nothing except for maps.
 *
 * @throws DataLoss if a value has the wrong kind, or is out of range
 */
export function readTocRow(json: JsonReader, row: TocRow): void {
  row.clear();
  json.beginObject();
  for (let first = true; json.inObject(first); first = false) {
    const key = json.readKey(keys);
    if (key === -1) json.skipValue();
    else if (!json.readNull()) readMember(json, row, key);
    else if (names[key] === 'xattrs') row.xattrs = undefined;
  }
}

const names = [
  'name',
  'type',
  'size',
  'modtime',
  'linkName',
  'mode',
  'uid',
  'gid',
  'offset',
  'innerOffset',
  'devMajor',
  'devMinor',
  'xattrs',
  'digest',
  'chunkOffset',
  'chunkSize',
  'chunkDigest',
] as const;
const keys = new KeyTable(names);

const maxId = 0xffff_ffff;
const maxMajor = 0xfff;
const maxMinor = 0xf_ffff;

function readMember(json: JsonReader, row: TocRow, key: number): void {
  switch (names[key]) {
    case 'name':
      row.name = json.readString();
      row.count(row.name.length);
      break;
    case 'type':
      row.type = readType(json);
      break;
    case 'size':
      row.size = readNumber(json, 'size', Number.MAX_SAFE_INTEGER);
      break;
    case 'modtime':
      readTime(json, row);
      break;
    case 'linkName':
      row.linkName = json.readString();
      row.count(row.linkName.length);
      break;
    case 'mode':
      row.mode = readNumber(json, 'mode', maxId) & 0o7777;
      break;
    case 'uid':
      row.uid = readNumber(json, 'uid', maxId);
      break;
    case 'gid':
      row.gid = readNumber(json, 'gid', maxId);
      break;
    case 'offset':
      row.offset = readNumber(json, 'offset', Number.MAX_SAFE_INTEGER);
      break;
    case 'innerOffset':
      row.innerOffset = readNumber(json, 'innerOffset', Number.MAX_SAFE_INTEGER);
      break;
    case 'devMajor':
      row.devMajor = readNumber(json, 'devMajor', maxMajor);
      break;
    case 'devMinor':
      row.devMinor = readNumber(json, 'devMinor', maxMinor);
      break;
    case 'xattrs':
      row.xattrs = readXattrs(json, row, row.xattrs);
      break;
    case 'digest':
      row.digest = readDigest(json);
      break;
    case 'chunkOffset':
      row.chunkOffset = readNumber(json, 'chunkOffset', Number.MAX_SAFE_INTEGER);
      break;
    case 'chunkSize':
      row.chunkSize = readNumber(json, 'chunkSize', Number.MAX_SAFE_INTEGER);
      break;
    case 'chunkDigest':
      row.chunkDigest = readDigest(json);
      break;
  }
}

function readNumber(json: JsonReader, name: string, max: number): number {
  const value = json.readInteger();
  if (value >= 0 && value <= max) return value;
  throw malformed(`"${name}" is ${value}: it must be 0 to ${max}`);
}

const types = ['reg', 'dir', 'symlink', 'hardlink', 'char', 'block', 'fifo', 'chunk'] as const;
const typeTable = new KeyTable(types);

function readType(json: JsonReader): EntryType | 'chunk' {
  json.readSpan();
  const type = types[typeTable.find(json.bytes, json.start, json.end)];
  if (type === undefined)
    throw malformed(`"type" is "${json.bytes.toString('latin1', json.start, Math.min(json.end, json.start + 50))}"`);
  return type;
}

function readTime(json: JsonReader, row: TocRow): void {
  json.readSpan();
  if (json.start === json.end || parseRfc3339(json.bytes, json.start, json.end, row)) return;
  throw malformed(`"modtime" is "${json.bytes.toString('latin1', json.start, Math.min(json.end, json.start + 50))}"`);
}

const digestPrefix = Buffer.from('sha256:', 'latin1');

function readDigest(json: JsonReader): number {
  json.readSpan();
  if (json.start === json.end) return 0;
  const { bytes, start, end } = json;
  let isSha256 = end - start === digestPrefix.length + 64;
  for (let i = 0; i < digestPrefix.length && isSha256; i++) isSha256 = bytes[start + i] === digestPrefix[i];
  if (isSha256) return start + digestPrefix.length;
  throw malformed(
    `a digest is "${bytes.toString('latin1', start, Math.min(end, start + 100))}": only sha256 is supported`,
  );
}

function readXattrs(
  json: JsonReader,
  row: TocRow,
  xattrs = new Map<ByteString, Uint8Array>(),
): Map<ByteString, Uint8Array> {
  json.beginObject();
  for (let first = true; json.inObject(first); first = false) {
    const name = json.readName();
    const value = json.readNull() ? new Uint8Array() : decodeBase64(json.readString(), name);
    row.count(name.length + value.length + xattrOverheadBytes);
    xattrs.set(name, value);
  }
  return xattrs;
}

function decodeBase64(text: string, name: ByteString): Uint8Array {
  const isBase64 = text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
  if (isBase64) return Buffer.from(text, 'base64');
  throw malformed(`the extended attribute "${name}" is not in base64`);
}

function malformed(what: string): LazypullError {
  return new LazypullError('DataLoss', `Cannot read the layer's table of contents: ${what}`);
}

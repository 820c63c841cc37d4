import { LazypullError } from '../errors.ts';
import type { ByteString, EntryType } from '../formats/layer-index.ts';
import { ByteReader } from './byte-reader.ts';
import { decodePax, decodePaxNumber, decodePaxTime, type PaxRecords } from './pax.ts';
import { blockBytes, decodeHeader, isZeroBlock, paddingOf, type TarHeader } from '../formats/tar-header.ts';

/** The longest PAX header or GNU long name that is read, as in Go's archive/tar. One xattr value has at most 64 KiB on Linux. */
const maxMetadataBytes = 1024 * 1024;
/** How many header blocks (PAX, GNU long names, global) may stand before one entry. */
const maxMetadataHeaders = 64;
/** Global PAX records hold for all entries that follow, so each of those costs what they are. */
const maxGlobalRecords = 256;
/** Linux has 32 bits for ids and keeps the highest for "no one". */
const maxId = 2 ** 32 - 2;
/** Linux packs a device number in 12 bits for the major and 20 for the minor. */
const maxDevMajor = 2 ** 12 - 1;
const maxDevMinor = 2 ** 20 - 1;

/** One entry of a tar archive with all of its headers applied, and those headers as they stand in the archive. */
export interface TarEntry {
  type: EntryType;
  /** As written: not cleaned, a directory's may end with a slash. Never empty. */
  path: ByteString;
  /** Target of a symlink or hard link, otherwise ''. */
  linkTarget: ByteString;
  /** 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  userName: ByteString;
  groupName: ByteString;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  /** Payload length: 0 but for regular files. */
  size: number;
  devMajor: number;
  devMinor: number;
  xattrs: ReadonlyMap<ByteString, Buffer> | undefined;
  /** The global PAX headers that stand before this entry and hold for all that follow. Mostly empty. */
  globalHeaders: Buffer;
  /** The header blocks of this entry alone: PAX header and GNU long names with their data, and the header itself. */
  headers: Buffer;
}

/**
 * Reads a tar archive as a stream: V7, ustar, PAX (with `SCHILY.xattr.*` and global headers), GNU and star, as GNU tar would extract it.
 * An entry's payload is read by `readPayload` before the next call of `next`; what is left of it is skipped. Only one entry's headers
 * are held in memory. All methods throw DataLoss where the archive is damaged, InvalidArgument where it holds what a layer cannot.
 */
export class TarReader {
  readonly #reader: ByteReader;
  #globals: PaxRecords = new Map();
  #payloadLeft = 0;
  #paddingLeft = 0;

  constructor(source: AsyncIterable<Buffer>) {
    this.#reader = new ByteReader(source);
  }

  /** The next entry, or undefined at the end of the archive. */
  async next(): Promise<TarEntry | undefined> {
    await this.#skipPayload();
    const own: Buffer[] = [];
    const globals: Buffer[] = [];
    let records: PaxRecords = new Map();
    let longName: ByteString | undefined;
    let longLink: ByteString | undefined;
    for (let count = 0; count <= maxMetadataHeaders; count++) {
      const position = this.#reader.position;
      const block = await this.#readHeaderBlock();
      if (block === undefined) {
        if (own.length === 0) return undefined;
        throw damaged(position, 'it ends between a PAX or long name header and its entry');
      }
      const header = decodeHeader(block, position);
      const isMetadata = 'xgLK'.includes(header.typeflag);
      if (!isMetadata) {
        own.push(block);
        const entry = toEntry(header, this.#globals, records, longName, longLink, position);
        this.#payloadLeft = entry.size;
        this.#paddingLeft = paddingOf(entry.size);
        return { ...entry, globalHeaders: Buffer.concat(globals), headers: Buffer.concat(own) };
      }
      const data = await this.#readMetadata(header, position);
      const text = data.subarray(0, header.size);
      (header.typeflag === 'g' ? globals : own).push(block, data);
      if (header.typeflag === 'x') records = decodePax(text, position);
      else if (header.typeflag === 'g')
        this.#globals = boundedGlobals(this.#globals, decodePax(text, position), position);
      else if (header.typeflag === 'L') longName = untilNul(text);
      else longLink = untilNul(text);
    }
    throw damaged(
      this.#reader.position,
      `more than ${maxMetadataHeaders} PAX or long name headers stand before one entry`,
    );
  }

  /** The next 1 to `max` bytes of the entry's payload; an empty buffer at its end. */
  async readPayload(max: number): Promise<Buffer> {
    const data = await this.#reader.readSome(Math.min(max, this.#payloadLeft));
    if (data.length === 0 && this.#payloadLeft > 0) throw damaged(this.#reader.position, 'it ends inside of a file');
    this.#payloadLeft -= data.length;
    return data;
  }

  /** The bytes that fill the payload, which has been read, up to a whole block. */
  async readPadding(): Promise<Buffer> {
    const data = await this.#reader.read(this.#paddingLeft);
    this.#paddingLeft = 0;
    return data;
  }

  /** Reads the source to its end: what follows the archive is dropped, but a digest taken on the way sees it. */
  drain(): Promise<void> {
    return this.#reader.drain();
  }

  /** Ends the source early. */
  close(): Promise<void> {
    return this.#reader.close();
  }

  async #skipPayload(): Promise<void> {
    while (this.#payloadLeft > 0) await this.readPayload(this.#payloadLeft);
    await this.readPadding();
  }

  /** Undefined at the end of the archive: two blocks of zeros, or the end of the source at a block's start or after one block of zeros. */
  async #readHeaderBlock(): Promise<Buffer | undefined> {
    const position = this.#reader.position;
    const block = await this.#reader.read(blockBytes);
    if (block.length === 0) return undefined;
    if (block.length < blockBytes) throw damaged(position, 'it ends inside of a header');
    if (!isZeroBlock(block)) return block;
    const second = await this.#reader.read(blockBytes);
    if (isZeroBlock(second)) return undefined;
    throw damaged(position, 'a lone block of zeros stands between entries');
  }

  /** The data of a metadata header with its padding. */
  async #readMetadata(header: TarHeader, position: number): Promise<Buffer> {
    if (header.size < 0 || header.size > maxMetadataBytes) {
      throw damaged(
        position,
        `a PAX or long name header of ${header.size} bytes is beyond the limit of ${maxMetadataBytes}`,
      );
    }
    const bytes = header.size + paddingOf(header.size);
    const data = await this.#reader.read(bytes);
    if (data.length < bytes) throw damaged(position, 'it ends inside of a PAX or long name header');
    return data;
  }
}

function damaged(position: number, what: string): LazypullError {
  return new LazypullError('DataLoss', `Cannot read the tar archive at byte ${position}: ${what}`);
}

function untilNul(data: Buffer): ByteString {
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end === -1 ? data.length : end);
}

/** Global records with newer ones over them. An empty value takes a record away, as pax(1) has it. */
function withRecords(globals: PaxRecords, newer: PaxRecords): PaxRecords {
  const merged = new Map([...globals, ...newer]);
  for (const [key, value] of merged) if (value === '' && !key.startsWith(xattrPrefix)) merged.delete(key);
  return merged;
}

function boundedGlobals(globals: PaxRecords, newer: PaxRecords, position: number): PaxRecords {
  const merged = withRecords(globals, newer);
  let bytes = 0;
  for (const [key, value] of merged) bytes += key.length + value.length;
  if (merged.size <= maxGlobalRecords && bytes <= maxMetadataBytes) return merged;
  throw damaged(
    position,
    `there are more than ${maxGlobalRecords} global PAX records, or ${maxMetadataBytes} bytes of them`,
  );
}

const xattrPrefix = 'SCHILY.xattr.';

function toEntry(
  header: TarHeader,
  globals: PaxRecords,
  own: PaxRecords,
  longName: ByteString | undefined,
  longLink: ByteString | undefined,
  position: number,
): Omit<TarEntry, 'globalHeaders' | 'headers'> {
  const records = withRecords(globals, own);
  if ([...records.keys()].some((key) => key.startsWith('GNU.sparse.'))) throw sparse(position);
  const path = longName ?? records.get('path') ?? header.name;
  const size = numberOf(records, 'size', position) ?? header.size;
  const type = typeOf(header.typeflag, path, size, position);
  const time = timeOf(records, header.mtime, position);
  const isLink = type === 'symlink' || type === 'hardlink';
  const linkTarget = isLink ? (longLink ?? records.get('linkpath') ?? header.linkName) : '';
  const entry = {
    type,
    path,
    linkTarget,
    mode: header.mode & 0o7777,
    uid: numberOf(records, 'uid', position) ?? header.uid,
    gid: numberOf(records, 'gid', position) ?? header.gid,
    userName: records.get('uname') ?? header.userName,
    groupName: records.get('gname') ?? header.groupName,
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    size: type === 'reg' ? size : 0,
    devMajor: header.devMajor,
    devMinor: header.devMinor,
    xattrs: xattrsOf(records),
  };
  if (path === '') throw damaged(position, 'an entry has no name');
  if (isLink && linkTarget === '') throw damaged(position, 'a link has no target');
  if (path.includes('\0') || linkTarget.includes('\0')) throw damaged(position, 'a name holds a NUL');
  checkRange(entry.size, Number.MAX_SAFE_INTEGER - blockBytes, 'size', position);
  checkRange(entry.uid, maxId, 'uid', position);
  checkRange(entry.gid, maxId, 'gid', position);
  checkRange(entry.devMajor, maxDevMajor, 'devmajor', position);
  checkRange(entry.devMinor, maxDevMinor, 'devminor', position);
  return entry;
}

/**
 * Only a regular file has a payload: as in Go's archive/tar, which containerd unpacks with, the size of other entries does not count.
 * An old-style directory is a regular entry whose name ends with a slash.
 */
function typeOf(typeflag: string, path: ByteString, size: number, position: number): EntryType {
  switch (typeflag) {
    case '0':
    case '\0':
    case '7':
      if (!path.endsWith('/')) return 'reg';
      if (size !== 0) throw damaged(position, 'a directory has data');
      return 'dir';
    case '1':
      return 'hardlink';
    case '2':
      return 'symlink';
    case '3':
      return 'char';
    case '4':
      return 'block';
    case '5':
      return 'dir';
    case '6':
      return 'fifo';
    case 'S':
      throw sparse(position);
    default:
      throw new LazypullError(
        'InvalidArgument',
        `Cannot read the tar archive at byte ${position}: an entry of type ${JSON.stringify(typeflag)} cannot be in a layer`,
      );
  }
}

function sparse(position: number): LazypullError {
  return new LazypullError(
    'InvalidArgument',
    `Cannot read the tar archive at byte ${position}: sparse files are not supported; write the layer without them (GNU tar: without --sparse)`,
  );
}

function numberOf(records: PaxRecords, key: string, position: number): number | undefined {
  const text = records.get(key);
  if (text === undefined) return undefined;
  const value = decodePaxNumber(text);
  if (value === undefined) throw damaged(position, `the PAX record "${key}" is not a number in range`);
  return value;
}

function timeOf(records: PaxRecords, headerTime: number, position: number): { seconds: number; nanoseconds: number } {
  const text = records.get('mtime');
  if (text === undefined) return { seconds: headerTime, nanoseconds: 0 };
  const time = decodePaxTime(text);
  if (time === undefined) throw damaged(position, 'the PAX record "mtime" is not a time');
  return time;
}

function xattrsOf(records: PaxRecords): ReadonlyMap<ByteString, Buffer> | undefined {
  const xattrs = new Map<ByteString, Buffer>();
  for (const [key, value] of records) {
    const name = key.startsWith(xattrPrefix) ? key.slice(xattrPrefix.length) : '';
    if (name !== '') xattrs.set(name, Buffer.from(value, 'latin1'));
  }
  return xattrs.size === 0 ? undefined : xattrs;
}

function checkRange(value: number, max: number, field: string, position: number): void {
  if (value < 0 || value > max) throw damaged(position, `the field "${field}" is out of range: ${value}`);
}

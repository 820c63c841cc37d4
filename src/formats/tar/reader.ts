import { LazypullError } from '../../errors.ts';
import type { ByteString, EntryType } from '../layer-index.ts';
import { ByteReader } from './byte-reader.ts';
import { decodePax, decodePaxInt64, decodePaxNumber, decodePaxTime, type PaxRecords } from './pax.ts';
import { plainHeaders } from './plain-headers.ts';
import {
  oldSparsePieces,
  oldSparseSize,
  sparseMapOfData,
  type SparsePiece,
  SparseReader,
  sparseRecords,
} from './sparse.ts';
import { blockBytes, decodeHeader, decodeNumber, isZeroBlock, paddingOf, type TarHeader } from './header.ts';

/** The longest PAX header or GNU long name that is read, as in Go's archive/tar. One xattr value has at most 64 KiB on Linux. */
const maxMetadataBytes = 1024 * 1024;
/** How many header blocks (PAX, GNU long names, global) may stand before one entry. */
const maxMetadataHeaders = 64;
/** Linux has 32 bits for ids, of which chown(2) takes the highest for "as it is": of a file that has just been made, root's. */
const idRange = 2 ** 32;
/** Linux packs a device number in 12 bits for the major and 20 for the minor; mknod(2) does not look at others. */
const devMajorRange = 2 ** 12;
const devMinorRange = 2 ** 20;
/** Zeros of sparse files that one archive may ask to be written: a few bytes of an archive can ask for very many. */
const maxHoleBytes = 16 * 2 ** 30;

/** One entry of a tar archive with all of its headers applied, and those headers as they stand in the archive. */
export interface TarEntry {
  type: EntryType;
  /** As written: not cleaned, a directory's may end with a slash. */
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
  /** The global PAX headers that stand before this entry. Mostly empty. */
  globalHeaders: Buffer;
  /**
   * The header blocks of this entry alone: PAX header and GNU long names with their data, and the header itself. Of a sparse file, and a directory with
   * data, such as are right for what `readPayload` gives.
   */
  headers: Buffer;
}

/** Bytes of a file's content, and where in the file they belong. */
export interface FilePiece {
  readonly offset: number;
  readonly data: Buffer;
}

/**
 * Reads a tar archive as a stream: V7, ustar, PAX (with `SCHILY.xattr.*`), GNU and star, as containerd would unpack it, by Go's archive/tar: global PAX
 * headers say nothing, sparse files have all their bytes. Beside what that takes, sparse files of the old GNU format and GNU's directories with a list are read.
 * An entry's payload is read by `readPayload` before the next call of `next`; what is left of it is skipped. Only one entry's headers
 * are held in memory. All methods throw DataLoss where the archive is damaged, InvalidArgument where it holds what a layer cannot.
 */
export class TarReader {
  readonly #reader: ByteReader;
  /** What is left of the entry's bytes in the archive, and of what fills them up to a block. */
  #stored = 0;
  #storedPadding = 0;
  /** Reads the payload where that is not what is stored. */
  #sparse: SparseReader | undefined;
  #isPayloadRead = false;
  /** Where in the file the next piece of an entry that is not sparse belongs. */
  #pieceOffset = 0;
  #holeBytes = 0;

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
      if (!'xgLK'.includes(header.typeflag)) {
        own.push(block);
        const entry = await this.#open(header, block, records, longName, longLink, position);
        const isRewritten = this.#sparse !== undefined || 'D7'.includes(header.typeflag);
        const headers = isRewritten ? plainHeaders(block, entry, records) : Buffer.concat(own);
        return { ...entry, globalHeaders: Buffer.concat(globals), headers };
      }
      const data = await this.#readMetadata(header, position);
      const text = data.subarray(0, header.size);
      (header.typeflag === 'g' ? globals : own).push(block, data);
      if (header.typeflag === 'x') records = decodePax(text, position);
      else if (header.typeflag === 'g') decodePax(text, position);
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
    const data = this.#sparse === undefined ? await this.#readStored(max) : await this.#sparse.read(max);
    if (data.length > 0) return data;
    if (this.#stored > 0) throw damaged(this.#reader.position, 'a sparse file has data that its map does not name');
    this.#isPayloadRead = true;
    return data;
  }

  /**
   * The next 1 to `max` bytes of the entry's payload that stand in the archive, right before `position`, and where in the file they belong: what a sparse file has
   * between its pieces is passed over. An empty buffer at the end.
   */
  async readPiece(max: number): Promise<FilePiece> {
    const offset = this.#sparse?.skipHole() ?? this.#pieceOffset;
    const data = await this.readPayload(max);
    this.#pieceOffset += data.length;
    return { offset, data };
  }

  /** How many bytes of the archive have been read. */
  get position(): number {
    return this.#reader.position;
  }

  /** Whether the entry is a sparse file: its content is not as it stands in the archive. */
  get isSparse(): boolean {
    return this.#sparse !== undefined;
  }

  /** The bytes that fill the payload, which has been read, up to a whole block. */
  async readPadding(): Promise<Buffer> {
    if (!this.#isPayloadRead) await this.readPayload(1);
    const data = await this.#reader.read(this.#storedPadding);
    this.#storedPadding = 0;
    return this.#sparse === undefined ? data : Buffer.alloc(paddingOf(this.#sparse.size));
  }

  /** Reads the source to its end: what follows the archive is dropped, but a digest taken on the way sees it. */
  drain(): Promise<void> {
    return this.#reader.drain();
  }

  /** Ends the source early. */
  close(): Promise<void> {
    return this.#reader.close();
  }

  /** What an entry is, and how its payload is read. */
  async #open(
    header: TarHeader,
    block: Buffer,
    records: PaxRecords,
    longName: ByteString | undefined,
    longLink: ByteString | undefined,
    position: number,
  ): Promise<Omit<TarEntry, 'globalHeaders' | 'headers'>> {
    const { entry, storedBytes } = toEntry(header, records, longName, longLink, position);
    this.#stored = storedBytes;
    this.#storedPadding = paddingOf(storedBytes);
    this.#isPayloadRead = false;
    this.#pieceOffset = 0;
    this.#sparse = undefined;
    if (entry.type !== 'reg') await this.#skipPayload();
    const number = (field: Buffer): number => decodeNumber(field, 'sparse', position);
    if (header.typeflag === 'S') {
      const size = oldSparseSize(block, number);
      this.#openSparse(await this.#oldPieces(block, number), size, position);
      return { ...entry, size };
    }
    const sparse = sparseRecords(records, position);
    if (sparse === undefined) return entry;
    if (entry.type !== 'reg') throw damaged(position, 'something that is no regular file is sparse');
    const size = sparse.size ?? storedBytes;
    this.#openSparse(sparse.pieces ?? (await this.#dataPieces(position)), size, position);
    return { ...entry, size, path: sparse.name === '' ? entry.path : sparse.name };
  }

  #openSparse(pieces: readonly SparsePiece[], size: number, position: number): void {
    checkRange(size, Number.MAX_SAFE_INTEGER - blockBytes, 'size', position);
    this.#sparse = new SparseReader(
      pieces,
      size,
      (max) => this.#readStored(max, 'its map names more data than it has'),
      position,
    );
    this.#holeBytes += this.#sparse.holeBytes;
    if (this.#holeBytes <= maxHoleBytes) return;
    throw new LazypullError(
      'ResourceExhausted',
      `Cannot read the tar archive at byte ${position}: its sparse files have more than ${maxHoleBytes} bytes of zeros; write the layer without them`,
    );
  }

  async #oldPieces(block: Buffer, number: (field: Buffer) => number): Promise<SparsePiece[]> {
    const pieces: SparsePiece[] = [];
    for (let more = oldSparsePieces(block, 'inHeader', pieces, number); more; ) {
      const next = await this.#reader.read(blockBytes);
      if (next.length < blockBytes) throw damaged(this.#reader.position, 'it ends inside of a sparse map');
      more = oldSparsePieces(next, 'inBlock', pieces, number);
    }
    return pieces;
  }

  async #dataPieces(position: number): Promise<SparsePiece[]> {
    const { pieces } = await sparseMapOfData(async () => {
      const block = await this.#reader.read(Math.min(blockBytes, this.#stored));
      this.#stored -= block.length;
      return block;
    }, position);
    return pieces;
  }

  async #readStored(max: number, problem = 'it ends inside of a file'): Promise<Buffer> {
    const wanted = Math.min(max, this.#stored);
    const data = await this.#reader.readSome(wanted);
    const isMissing = wanted > 0 || (max > 0 && this.#sparse !== undefined);
    if (data.length === 0 && isMissing) throw damaged(this.#reader.position, problem);
    this.#stored -= data.length;
    return data;
  }

  async #skipPayload(): Promise<void> {
    this.#sparse = undefined;
    while (this.#stored > 0) await this.#readStored(this.#stored);
    this.#isPayloadRead = true;
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

/** An empty value takes a record away, as pax(1) has it. */
function withoutEmpty(records: PaxRecords): PaxRecords {
  return new Map([...records].filter(([key, value]) => value !== '' || key.startsWith(xattrPrefix)));
}

const xattrPrefix = 'SCHILY.xattr.';

function toEntry(
  header: TarHeader,
  own: PaxRecords,
  longName: ByteString | undefined,
  longLink: ByteString | undefined,
  position: number,
): { entry: Omit<TarEntry, 'globalHeaders' | 'headers'>; storedBytes: number } {
  const records = withoutEmpty(own);
  const path = longName || (records.get('path') ?? header.name);
  const size = numberOf(records, 'size', position) ?? header.size;
  const type = typeOf(header.typeflag, path, position);
  const time = timeOf(records, header.mtime, position);
  const isLink = type === 'symlink' || type === 'hardlink';
  const linkTarget = isLink ? longLink || (records.get('linkpath') ?? header.linkName) : '';
  const entry = {
    type,
    path,
    linkTarget,
    mode: header.mode & 0o7777,
    uid: idOf(idRecord(records, 'uid', position) ?? header.uid),
    gid: idOf(idRecord(records, 'gid', position) ?? header.gid),
    userName: records.get('uname') ?? header.userName,
    groupName: records.get('gname') ?? header.groupName,
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    size: type === 'reg' ? size : 0,
    devMajor: remainder(header.devMajor, devMajorRange),
    devMinor: remainder(header.devMinor, devMinorRange),
    xattrs: xattrsOf(records),
  };
  if (isLink && linkTarget === '') throw damaged(position, 'a link has no target');
  if (path.includes('\0') || linkTarget.includes('\0')) throw damaged(position, 'a name holds a NUL');
  const storedBytes = type === 'reg' || header.typeflag === 'D' ? size : 0;
  checkRange(storedBytes, Number.MAX_SAFE_INTEGER - blockBytes, 'size', position);
  return { entry, storedBytes };
}

function idOf(value: number): number {
  const id = remainder(value, idRange);
  return id === idRange - 1 ? 0 : id;
}

/** What is left of a number in so many bits. */
function remainder(value: number, range: number): number {
  return ((value % range) + range) % range;
}

/**
 * Only a regular file has a payload: as in Go's archive/tar, which containerd unpacks with, the size of other entries does not count.
 * A directory of the oldest tars is an entry of no type whose name ends with a slash. One of GNU's incremental archives (`D`) has a list of names behind it.
 */
function typeOf(typeflag: string, path: ByteString, position: number): EntryType {
  switch (typeflag) {
    case '\0':
      return path.endsWith('/') ? 'dir' : 'reg';
    case '0':
    case '7':
    case 'S':
      return 'reg';
    case '1':
      return 'hardlink';
    case '2':
      return 'symlink';
    case '3':
      return 'char';
    case '4':
      return 'block';
    case '5':
    case 'D':
      return 'dir';
    case '6':
      return 'fifo';
    default:
      throw new LazypullError(
        'InvalidArgument',
        `Cannot read the tar archive at byte ${position}: an entry of type ${JSON.stringify(typeflag)} cannot be in a layer`,
      );
  }
}

function numberOf(records: PaxRecords, key: string, position: number): number | undefined {
  const text = records.get(key);
  if (text === undefined) return undefined;
  const value = decodePaxNumber(text);
  if (value === undefined) throw damaged(position, `the PAX record "${key}" is not a number in range`);
  return value;
}

/** An id of up to 64 bits, of which Linux takes 32. */
function idRecord(records: PaxRecords, key: string, position: number): number | undefined {
  const text = records.get(key);
  if (text === undefined) return undefined;
  const value = decodePaxInt64(text);
  if (value === undefined) throw damaged(position, `the PAX record "${key}" is not a number in range`);
  return Number(BigInt.asUintN(32, value));
}

function timeOf(records: PaxRecords, headerTime: number, position: number): { seconds: number; nanoseconds: number } {
  const text = records.get('mtime');
  if (text === undefined) return { seconds: headerTime, nanoseconds: 0 };
  // A time that no file system has is 0, as containerd has it.
  const isFarAway = decodePaxInt64(text.replace(/\.[0-9]*$/, '')) !== undefined;
  const time = decodePaxTime(text) ?? (isFarAway ? { seconds: 0, nanoseconds: 0 } : undefined);
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

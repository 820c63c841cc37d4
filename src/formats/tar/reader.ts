import { LazypullError } from '../../errors.ts';
import type { ByteString } from '../layer-index.ts';
import { ByteReader } from './byte-reader.ts';
import { checkRange, damaged, type TarEntry, toEntry } from './entry.ts';
import { decodePax, type PaxRecords } from './pax.ts';
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
/** Zeros of sparse files that one archive may ask to be written: a few bytes of an archive can ask for very many. */
const maxHoleBytes = 16 * 2 ** 30;

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

function untilNul(data: Buffer): ByteString {
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end === -1 ? data.length : end);
}

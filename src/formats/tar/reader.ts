import { LazypullError } from '../../errors.ts';
import type { ByteString } from '../layer-index.ts';
import { maxHoleBytes } from '../limits.ts';
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

/**
 * A longer PAX header or GNU long name is not read, as in Go's archive/tar. One xattr value has at most 64 KiB on
 * Linux.
 */
const maxMetadataBytes = 1024 * 1024;
/** How many header blocks (PAX, GNU long names, global) may come before one entry. */
const maxMetadataHeaders = 64;

/** Bytes of a file's content, and their offset in the file. */
export interface FilePiece {
  readonly offset: number;
  readonly data: Buffer;
}

/**
 * Reads a tar archive as a stream: V7, ustar, PAX (with `SCHILY.xattr.*`), GNU and star. It reads what containerd would
 * unpack, by Go's archive/tar: global PAX headers have no effect, sparse files have all their bytes. In addition it
 * reads sparse files of the old GNU format and GNU's directories with a list. Read an entry's payload with
 * `readPayload` before the next call of `next`; the rest of it is skipped. Only one entry's headers are held in memory.
 * All methods throw DataLoss if the archive is damaged, InvalidArgument if a layer cannot contain it.
 */
export class TarReader {
  readonly #reader: ByteReader;
  /** How many bytes of the entry, and of its padding, are left in the archive. */
  #stored = 0;
  #storedPadding = 0;
  /** Reads the payload if it differs from the stored bytes. */
  #sparse: SparseReader | undefined;
  #isPayloadRead = false;
  /** The offset in the file of the next piece of an entry that is not sparse. */
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
   * The next 1 to `max` payload bytes that are in the archive, right before `position`, and their offset in the file:
   * holes of a sparse file are skipped. An empty buffer at the end.
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

  /** The padding of the payload, which has been read, up to a whole block. */
  async readPadding(): Promise<Buffer> {
    if (!this.#isPayloadRead) await this.readPayload(1);
    const data = await this.#reader.read(this.#storedPadding);
    this.#storedPadding = 0;
    return this.#sparse === undefined ? data : Buffer.alloc(paddingOf(this.#sparse.size));
  }

  /** Reads the source to its end: data after the archive is dropped, but digests of the source include it. */
  drain(): Promise<void> {
    return this.#reader.drain();
  }

  /** Ends the source early. */
  close(): Promise<void> {
    return this.#reader.close();
  }

  /** Determines what an entry is, and how its payload is read. */
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

  /**
   * Undefined at the end of the archive: two blocks of zeros, or the end of the source at a block's start or after one
   * block of zeros.
   */
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

import { LazypullError } from '../../errors.ts';
import type { ByteString } from '../layer-index.ts';
import { blockBytes } from './header.ts';
import { decodePaxNumber, type PaxRecords, sparseMapKey } from './pax.ts';

/** The place of a piece of data in a sparse file. Between the pieces are zeros. */
export interface SparsePiece {
  readonly offset: number;
  readonly length: number;
}

/**
 * The PAX records of a sparse file (GNU tar manual, "Sparse Formats"). In version 1.0 the pieces come before its data.
 */
export interface SparseRecords {
  /** '' if the entry's name is the file's. */
  readonly name: ByteString;
  /** Size with all zeros; undefined for the size of the entry. */
  readonly size: number | undefined;
  readonly pieces: readonly SparsePiece[] | undefined;
}

/** No tool writes more. */
const maxPieces = 65_536;
/** Maximum length of a map before the data, as in Go's archive/tar. */
const maxMapBytes = 1024 * 1024;
/** Numbers of a map have no more digits. */
const maxLineBytes = 20;

/**
 * Reads the records of sparse files as Go's archive/tar does. In versions that it does not know, the entry is what it
 * seems. @throws DataLoss
 */
export function sparseRecords(records: PaxRecords, position: number): SparseRecords | undefined {
  const [major = '', minor = ''] = [records.get('GNU.sparse.major'), records.get('GNU.sparse.minor')];
  const isInData = major === '1' && minor === '0';
  const isInRecords = major === '0' && (minor === '0' || minor === '1');
  if (!isInData && !isInRecords && (major !== '' || minor !== '' || !records.get(sparseMapKey))) return undefined;
  const sizeText = records.get('GNU.sparse.size') || records.get('GNU.sparse.realsize') || undefined;
  return {
    name: records.get('GNU.sparse.name') ?? '',
    size: sizeText === undefined ? undefined : numberOf(sizeText, position),
    pieces: isInData ? undefined : piecesOfRecords(records, position),
  };
}

function piecesOfRecords(records: PaxRecords, position: number): SparsePiece[] {
  const map = records.get(sparseMapKey) ?? '';
  const numbers = map === '' ? [] : map.split(',', 2 * maxPieces + 1);
  if (numbers.length !== 2 * numberOf(records.get('GNU.sparse.numblocks') ?? '', position)) throw wrong(position);
  return piecesOf(numbers, position);
}

/**
 * Reads the map before the data of a file of version 1.0. `readBlock` gives the next block. @returns the pieces, and
 * the length of the map
 */
export async function sparseMapOfData(
  readBlock: () => Promise<Buffer>,
  position: number,
): Promise<{ pieces: SparsePiece[]; bytes: number }> {
  let bytes = 0;
  let text = '';
  const line = async (): Promise<string> => {
    for (;;) {
      const end = text.indexOf('\n');
      if (end >= 0) {
        const found = text.slice(0, end);
        text = text.slice(end + 1);
        return found;
      }
      if (text.length > maxLineBytes || bytes >= maxMapBytes) throw wrong(position);
      const block = await readBlock();
      if (block.length < blockBytes) throw wrong(position);
      bytes += block.length;
      text += block.toString('latin1');
    }
  };
  const count = numberOf(await line(), position);
  if (count > maxPieces) throw wrong(position);
  const numbers: string[] = [];
  while (numbers.length < 2 * count) numbers.push(await line());
  return { pieces: piecesOf(numbers, position), bytes };
}

/** Offsets of the old GNU format in a header, and in the blocks that may follow it. */
const oldEntries = { inHeader: { start: 386, count: 4, more: 482 }, inBlock: { start: 0, count: 21, more: 504 } };
const oldNumberBytes = 12;
const oldSizeOffset = 483;

/**
 * Reads the pieces in a header of type `S`. `number` decodes a field of a header. @returns whether another block
 * follows
 */
export function oldSparsePieces(
  block: Buffer,
  kind: keyof typeof oldEntries,
  pieces: SparsePiece[],
  number: (field: Buffer) => number,
): boolean {
  const { start, count, more } = oldEntries[kind];
  for (let i = 0; i < count; i++) {
    const at = start + 2 * oldNumberBytes * i;
    if (block[at] === 0) break;
    const field = (offset: number): number => number(block.subarray(offset, offset + oldNumberBytes));
    pieces.push({ offset: field(at), length: field(at + oldNumberBytes) });
  }
  return block[more] !== 0 && pieces.length <= maxPieces;
}

/** Size of a file of the old GNU format, in bytes. */
export function oldSparseSize(block: Buffer, number: (field: Buffer) => number): number {
  return number(block.subarray(oldSizeOffset, oldSizeOffset + oldNumberBytes));
}

/** Reads a sparse file with all its bytes. */
export class SparseReader {
  readonly size: number;
  readonly #pieces: readonly SparsePiece[];
  readonly #readStored: (max: number) => Promise<Buffer>;
  #at = 0;
  #piece = 0;

  /**
   * @param readStored gives the next 1 to `max` bytes of the pieces. @throws DataLoss if the pieces are not in order,
   * or not in the file
   */
  constructor(
    pieces: readonly SparsePiece[],
    size: number,
    readStored: (max: number) => Promise<Buffer>,
    position: number,
  ) {
    let end = 0;
    for (const { offset, length } of pieces) {
      if (!(offset >= end && length >= 0 && offset + length <= size)) throw wrong(position);
      end = offset + length;
    }
    this.size = size;
    this.#pieces = pieces;
    this.#readStored = readStored;
  }

  /** How many bytes are in no piece. */
  get holeBytes(): number {
    return this.#pieces.reduce((rest, { length }) => rest - length, this.size);
  }

  /**
   * Skips the hole at the present position. @returns the offset in the file of the next byte: its end, unless data
   * follows
   */
  skipHole(): number {
    const isEmpty = ({ offset, length }: SparsePiece): boolean => offset + length <= Math.max(this.#at, offset);
    while (this.#piece < this.#pieces.length && isEmpty(this.#pieces[this.#piece]!)) this.#piece++;
    this.#at = Math.max(this.#at, this.#pieces[this.#piece]?.offset ?? this.size);
    return this.#at;
  }

  /** The next 1 to `max` bytes of the file; an empty buffer at its end. */
  async read(max: number): Promise<Buffer> {
    while (endOf(this.#pieces[this.#piece]) <= this.#at) this.#piece++;
    const piece = this.#pieces[this.#piece];
    const holeEnd = Math.min(piece?.offset ?? this.size, this.size);
    const data =
      this.#at < holeEnd
        ? zeros.subarray(0, Math.min(max, holeEnd - this.#at))
        : await this.#readStored(Math.min(max, endOf(piece, this.#at) - this.#at));
    this.#at += data.length;
    return data;
  }
}

const zeros = Buffer.alloc(256 * 1024);

function endOf(piece: SparsePiece | undefined, otherwise = Infinity): number {
  return piece === undefined ? otherwise : piece.offset + piece.length;
}

function piecesOf(numbers: readonly string[], position: number): SparsePiece[] {
  const pieces: SparsePiece[] = [];
  for (let i = 0; i < numbers.length; i += 2) {
    pieces.push({ offset: numberOf(numbers[i]!, position), length: numberOf(numbers[i + 1]!, position) });
  }
  return pieces;
}

function numberOf(text: ByteString, position: number): number {
  const value = decodePaxNumber(text);
  if (value === undefined || value < 0) throw wrong(position);
  return value;
}

function wrong(position: number): LazypullError {
  return new LazypullError(
    'DataLoss',
    `Cannot read the tar archive at byte ${position}: the map of a sparse file is damaged`,
  );
}

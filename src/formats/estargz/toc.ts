import { hexOf, sha256 } from '../../chunks/digest.ts';
import { LazypullError } from '../../errors.ts';
import { ChunkColumns, digestBytes } from '../chunk-columns.ts';
import { JsonReader, KeyTable } from './json-reader.ts';
import type { EntryType, IndexEntry, LayerIndex } from '../layer-index.ts';
import { maxChunkBytes, maxInnerOffset, maxTocRows } from '../limits.ts';
import { readTocRow, TocRow } from './toc-row.ts';
import { tocJson } from './toc-tar.ts';

/** The expected properties of a table of contents. */
export interface TocContext {
  /** `sha256:<hex>` of the table's JSON, from the manifest. */
  tocDigest: string;
  /** Size of the blob in bytes. */
  blobSize: number;
  /** The offset of the table in the blob: no file's data reaches beyond it. */
  tocOffset: number;
}

/** A table of contents, extracted from its blob. */
export interface OpenedToc {
  readonly json: Buffer;
  /** `sha256:<hex>` of the JSON. */
  readonly tocDigest: string;
}

/**
 * Extracts the table of contents of an eStargz blob (containerd/stargz-snapshotter, docs/estargz.md, "TOC"), whatever
 * its digest is.
 *
 * @param compressedToc the blob from `tocOffset` on, with or without the footer
 * @param maxBytes maximum length of the JSON; undefined for the bound in `limits.ts`
 * @throws DataLoss if there is none; ResourceExhausted above the bounds of `limits.ts`, or `maxBytes`
 */
export function openToc(
  compressedToc: Uint8Array,
  { blobSize, tocOffset }: Pick<TocContext, 'blobSize' | 'tocOffset'>,
  maxBytes?: number,
): OpenedToc {
  if (!Number.isSafeInteger(blobSize) || !Number.isSafeInteger(tocOffset) || tocOffset < 0 || tocOffset >= blobSize) {
    throw new LazypullError('DataLoss', `The table of contents cannot be at byte ${tocOffset} of ${blobSize}`);
  }
  const json = tocJson(compressedToc, maxBytes);
  return { json, tocDigest: sha256(json) };
}

/** Throws DataLoss unless the digest of a table of contents is the one in the manifest. */
export function checkTocDigest(actual: string, promised: string): void {
  if (actual === promised) return;
  throw new LazypullError('DataLoss', `Wrong digest of the table of contents: ${actual} instead of ${promised}`);
}

/**
 * Reads the table of contents of an eStargz blob.
 *
 * @param compressedToc as for `openToc`
 * @throws DataLoss if the digest is wrong, or the table is invalid; FailedPrecondition if the layer can only be pulled
 * in the ordinary way: files that cannot be verified, lost names; ResourceExhausted above the bounds of `limits.ts`
 */
export function readToc(compressedToc: Uint8Array, { tocDigest, ...place }: TocContext): LayerIndex {
  hexOf(tocDigest, 'digest of the table of contents');
  const toc = openToc(compressedToc, place);
  checkTocDigest(toc.tocDigest, tocDigest);
  return readTocJson(toc.json, place.tocOffset);
}

/**
 * Reads the JSON of a table of contents. Whatever Go's encoding/json would read differently is refused.
 *
 * @param json not changed, and not needed afterwards
 * @param dataEnd no data in the blob reaches beyond this byte
 */
export function readTocJson(json: Buffer, dataEnd: number): LayerIndex {
  const reader = new JsonReader(json);
  const rows = new RowReader(json, dataEnd);
  let hasEntries = false;
  reader.beginObject();
  for (let first = true; reader.inObject(first); first = false) {
    const key = reader.readKey(keys);
    if (key === entriesKey) {
      // Go reads a second list into the entries of the first.
      if (hasEntries) throw new LazypullError('DataLoss', 'The table of contents has several lists of entries');
      hasEntries = true;
    }
    if (reader.readNull()) continue;
    if (key === versionKey) checkVersion(reader.readInteger());
    else if (key === entriesKey) readEntries(reader, rows);
    else reader.skipValue();
  }
  reader.finish();
  const index = rows.finish();
  if (index.entries.length > 0 || dataEnd <= maxEmptyBytes) return index;
  throw new LazypullError(
    'FailedPrecondition',
    `The table of contents lists nothing, and the layer has ${dataEnd} bytes of content`,
  );
}

/** The size of a compressed tar archive without entries; one of an empty directory has some 80 bytes. */
const maxEmptyBytes = 64;

const keys = new KeyTable(['version', 'entries']);
const versionKey = 0;
const entriesKey = 1;

function checkVersion(version: number): void {
  if (version === 1) return;
  throw new LazypullError('FailedPrecondition', `The table of contents has version ${version}, which is not supported`);
}

function readEntries(reader: JsonReader, rows: RowReader): void {
  const row = new TocRow();
  let count = 0;
  reader.beginArray();
  for (let first = true; reader.inArray(first); first = false) {
    if (++count > maxTocRows) {
      throw new LazypullError('ResourceExhausted', `The table of contents has more than ${maxTocRows} rows`);
    }
    readTocRow(reader, row);
    rows.add(row);
  }
}

/** Turns rows into entries: a regular file's row and the following chunk rows are one entry. */
class RowReader {
  readonly #json: Buffer;
  readonly #dataEnd: number;
  readonly #entries: IndexEntry[] = [];
  readonly #chunks = new ChunkColumns();
  /**
   * The regular file whose chunks are being read, the start of the last chunk, its size if a row has it, and the file's
   * own digest.
   */
  #file: IndexEntry | undefined;
  #chunkOffset = 0;
  #chunkSize = 0;
  #chunkDigest = 0;
  #fileDigest = 0;

  constructor(json: Buffer, dataEnd: number) {
    this.#json = json;
    this.#dataEnd = dataEnd;
  }

  add(row: TocRow): void {
    if (row.type === 'chunk') {
      if (this.#file === undefined) throw malformed('a chunk follows no file', row.name);
      this.#endChunk(this.#file, row.chunkOffset);
      this.#beginChunk(this.#file, row);
      return;
    }
    this.#endFile();
    if (row.type === '') throw malformed('an entry has no type', row.name);
    const entry = entryOf(row, row.type, this.#chunks.length);
    this.#entries.push(entry);
    if (entry.size === 0) return;
    if (row.chunkOffset !== 0) throw malformed('its first chunk is not at its start', row.name);
    this.#file = entry;
    this.#fileDigest = row.digest;
    this.#beginChunk(entry, row);
  }

  finish(): LayerIndex {
    this.#endFile();
    this.#chunks.endStreams(this.#dataEnd);
    return { entries: this.#entries, chunks: this.#chunks };
  }

  #beginChunk(file: IndexEntry, row: TocRow): void {
    if (row.offset >= this.#dataEnd) throw malformed(`its data is at byte ${row.offset}, past the end`, file.path);
    if (row.innerOffset > maxInnerOffset) {
      throw new LazypullError(
        'ResourceExhausted',
        `Cannot read a chunk of "${file.path}": it begins ${row.innerOffset} bytes into its gzip stream, and ${maxInnerOffset} are the limit`,
      );
    }
    this.#chunks.add(row.offset, row.innerOffset, 0);
    file.chunkCount++;
    this.#chunkOffset = row.chunkOffset;
    this.#chunkSize = row.chunkSize;
    this.#chunkDigest = row.chunkDigest;
  }

  /** Ends the last chunk at byte `end` of the file. */
  #endChunk(file: IndexEntry, end: number): void {
    const size = end - this.#chunkOffset;
    if (size < 1 || end > file.size || (this.#chunkSize !== 0 && this.#chunkSize !== size)) {
      throw malformed(`its chunk at byte ${this.#chunkOffset} does not end where the next one begins`, file.path);
    }
    if (size > maxChunkBytes) {
      throw new LazypullError(
        'ResourceExhausted',
        `Cannot read "${file.path}" in parts: it has a chunk of ${size} bytes, and ${maxChunkBytes} are the limit`,
      );
    }
    const isWholeFile = file.chunkCount === 1 && end === file.size;
    const digest = this.#chunkDigest === 0 && isWholeFile ? this.#fileDigest : this.#chunkDigest;
    if (digest === 0) {
      throw new LazypullError('FailedPrecondition', `Cannot verify "${file.path}": a chunk of it has no digest`);
    }
    const row = this.#chunks.length - 1;
    this.#chunks.size[row] = size;
    this.#readDigest(digest, row * digestBytes, file);
  }

  #endFile(): void {
    if (this.#file === undefined) return;
    this.#endChunk(this.#file, this.#file.size);
    this.#file = undefined;
  }

  #readDigest(from: number, to: number, file: IndexEntry): void {
    const { digest } = this.#chunks;
    for (let i = 0; i < digestBytes; i++) {
      const high = hexValues[this.#json[from + 2 * i]!]!;
      const low = hexValues[this.#json[from + 2 * i + 1]!]!;
      if ((high | low) > 15) throw malformed('its digest is not hexadecimal', file.path);
      digest[to + i] = (high << 4) | low;
    }
  }
}

/** The value of each hexadecimal digit by its character code; 16 for other characters. */
const hexValues = Uint8Array.from({ length: 256 }, (_, code) => {
  const value = Number.parseInt(String.fromCharCode(code), 16);
  return Number.isNaN(value) ? 16 : value;
});

function entryOf(row: TocRow, type: EntryType, firstChunk: number): IndexEntry {
  const isDevice = type === 'char' || type === 'block';
  return {
    path: row.name,
    type,
    mode: row.mode,
    uid: row.uid,
    gid: row.gid,
    mtimeSeconds: row.seconds,
    mtimeNanoseconds: row.nanoseconds,
    size: type === 'reg' ? row.size : 0,
    linkTarget: type === 'symlink' || type === 'hardlink' ? row.linkName : '',
    devMajor: isDevice ? row.devMajor : 0,
    devMinor: isDevice ? row.devMinor : 0,
    xattrs: row.xattrs,
    firstChunk,
    chunkCount: 0,
  };
}

function malformed(what: string, path: string): LazypullError {
  return new LazypullError('DataLoss', `Cannot read the table of contents at "${path}": ${what}`);
}

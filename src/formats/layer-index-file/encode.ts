import { hash } from 'node:crypto';
import { type Digest, hexOf } from '../../chunks/digest.ts';
import { LazypullError } from '../../errors.ts';
import { type ChunkColumns, digestBytes } from '../chunk-columns.ts';
import { printable } from '../../util/printable.ts';
import type { IndexEntry, LayerIndex } from '../layer-index.ts';
import { maxHoleBytes, maxTocRows } from '../limits.ts';
import { type Checkpoint, type Compression, firstCheckpoint, maxSpanBytes, spanKinds } from '../blob-spans.ts';
import { magic, writeTail } from './footer.ts';
import { fold, NumberWriter } from './numbers.ts';
import { type SpanTable, spanTable, streamEndAt } from './span-table.ts';
import { compressionCodes, typeCodes } from './tables.ts';
import { storeWindow } from './stored-windows.ts';

/** The properties of a layer that has been read completely. */
export interface WholeLayer {
  readonly layerDigest: Digest;
  readonly blobBytes: number;
  /** The byte after the last one with data: zeros may follow. */
  readonly dataEnd: number;
  readonly tarBytes: number;
}

/** Makes the layer index of a blob (docs/layer-index.md) while the blob is read. */
export class LayerIndexWriter {
  readonly #compression: Compression;
  readonly #spans: Omit<Checkpoint, 'window'>[] = [];
  readonly #windows: (Buffer | undefined)[] = [];
  /** The window of the last span, which may still contain unneeded bytes. */
  #lastWindow: Uint8Array | undefined;

  /** The first checkpoint of the blob need not be added. */
  constructor(compression: Compression) {
    this.#compression = compression;
    if (compression !== 'none') this.span(firstCheckpoint(compression));
  }

  /** Adds a checkpoint, the next one of the blob. Its window is read when the next one comes, or at the end. */
  span({ window, ...checkpoint }: Checkpoint): void {
    this.#storeLastWindow();
    this.#spans.push(checkpoint);
    if (checkpoint.kind === spanKinds.window) this.#lastWindow = window;
  }

  #storeLastWindow(): void {
    if (this.#spans.length === 0) return;
    this.#windows.push(this.#lastWindow === undefined ? undefined : storeWindow(this.#lastWindow));
    this.#lastWindow = undefined;
  }

  /**
   * Returns the whole file.
   *
   * @param index its entries, with chunks in the order of the tar. A chunk lies in one span; `streamOffset` names
   * that, or is the place of the chunk in a tar that is not compressed.
   *   `streamEnd` is where in its span the chunk ends, and never less than that of the chunk before
   * @throws ResourceExhausted for a layer that is beyond what readers take: it has no index
   */
  finish(layer: WholeLayer, index: LayerIndex): Buffer {
    this.#storeLastWindow();
    const windows = this.#windows.filter((window) => window !== undefined);
    const tail = new NumberWriter();
    this.#writeLayer(tail, layer, index);
    this.#writeSpans(tail, layer.tarBytes);
    this.#writeChunks(tail, index, layer.dataEnd);
    writeEntries(tail, index.entries);
    const start = Buffer.concat([magic, ...windows]);
    return Buffer.concat([start, writeTail(tail.finish(), start.length)]);
  }

  /**
   * After `finish`: its spans as `decodeTail` returns them, for a codec that reads the layer by them. @param dataEnd
   * the byte of the blob after its last member
   */
  spanTable(dataEnd: number): SpanTable {
    const table = spanTable(undefined, this.#spans.length);
    let window = magic.length;
    for (const [i, span] of this.#spans.entries()) {
      const stored = this.#windows[i];
      table.streamOffset[i] = span.blobOffset;
      table.streamEnd[i] = streamEndAt(this.#spans[i + 1], dataEnd);
      table.outputOffset[i] = span.outputOffset;
      table.kind[i] = span.kind;
      table.bits[i] = span.bits;
      if (stored === undefined) continue;
      table.windowOffset[i] = window;
      table.windowBytes[i] = stored.length;
      table.windowDigest.set(hash('sha256', stored, 'buffer'), i * digestBytes);
      window += stored.length;
    }
    return table;
  }

  #writeLayer(tail: NumberWriter, layer: WholeLayer, { entries, chunks }: LayerIndex): void {
    checkFiles({ entries, chunks });
    if (entries.length > maxTocRows || chunks.length > maxTocRows || this.#spans.length > maxTocRows) {
      throw new LazypullError('ResourceExhausted', `The layer has more than ${maxTocRows} entries, chunks or spans`);
    }
    tail.byte(compressionCodes[this.#compression]);
    tail.bytes(Buffer.from(hexOf(layer.layerDigest, 'layer digest'), 'hex'));
    for (const number of [layer.blobBytes, layer.dataEnd, layer.tarBytes]) tail.number(number);
    for (const count of [this.#spans.length, chunks.length, entries.length]) tail.number(count);
  }

  #writeSpans(tail: NumberWriter, tarBytes: number): void {
    let blobOffset = 0;
    let outputOffset = 0;
    for (const [i, span] of this.#spans.entries()) {
      const length = (this.#spans[i + 1]?.outputOffset ?? tarBytes) - span.outputOffset;
      if (length > maxSpanBytes) {
        const message = `The layer cannot be read from the middle: byte ${span.outputOffset} of its tar is followed by ${length} bytes without a checkpoint`;
        throw new LazypullError('ResourceExhausted', message);
      }
      tail.number(span.blobOffset - blobOffset);
      tail.number(span.outputOffset - outputOffset);
      tail.byte((span.kind << 3) | span.bits);
      tail.number(this.#windows[i]?.length ?? 0);
      ({ blobOffset, outputOffset } = span);
    }
    for (const window of this.#windows) if (window !== undefined) tail.bytes(hash('sha256', window, 'buffer'));
  }

  #writeChunks(tail: NumberWriter, { chunks }: LayerIndex, dataEnd: number): void {
    for (let row = 0; row < chunks.length; row++) tail.number(chunks.size[row]!);
    const starts = new Map(this.#spans.map(({ blobOffset, outputOffset }) => [blobOffset, outputOffset]));
    let end = 0;
    for (let row = 0; row < chunks.length; row++) {
      const stream = chunks.streamOffset[row]!;
      const start = this.#compression === 'none' ? stream : starts.get(stream);
      const at = (start ?? NaN) + chunks.innerOffset[row]!;
      if (!(at >= end))
        throw new LazypullError('InvalidArgument', `Chunk ${row} is in no span, or not in the order of the tar`);
      tail.number(at - end);
      end = at + chunks.size[row]!;
    }
    tail.bytes(chunks.digest.subarray(0, chunks.length * digestBytes));
    for (let row = 0; row < chunks.length; row++) tail.number(chunks.hole[row]!);
    if (this.#compression !== 'none') this.#writeEnds(tail, chunks, dataEnd);
  }

  #writeEnds(tail: NumberWriter, { length, streamOffset, streamEnd }: ChunkColumns, dataEnd: number): void {
    const ends = new Map(
      this.#spans.map(({ blobOffset }, i) => [blobOffset, streamEndAt(this.#spans[i + 1], dataEnd)]),
    );
    let before = -1;
    let end = 0;
    for (let row = 0; row < length; row++) {
      const start = streamOffset[row]!;
      if (start !== before) end = start;
      if (!(streamEnd[row]! > start && streamEnd[row]! >= end && streamEnd[row]! <= ends.get(start)!))
        throw new LazypullError('InvalidArgument', `Chunk ${row} does not end in its span`);
      tail.number(streamEnd[row]! - end);
      before = start;
      end = streamEnd[row]!;
    }
  }
}

/** Writes a column for each property of the entries, and then all texts, one after another. */
function writeEntries(tail: NumberWriter, entries: readonly IndexEntry[]): void {
  const column = (valueOf: (entry: IndexEntry) => number): void => {
    for (const entry of entries) tail.number(valueOf(entry));
  };
  for (const { type } of entries) tail.byte(typeCodes[type]);
  column(({ mode }) => mode);
  column(({ uid }) => uid);
  column(({ gid }) => gid);
  let before = 0;
  column((entry) => {
    const seconds = hasTime(entry) ? entry.mtimeSeconds : 0;
    const difference = fold(seconds - before);
    before = seconds;
    return difference;
  });
  column((entry) => (hasTime(entry) ? entry.mtimeNanoseconds : 0));
  column(({ size }) => size);
  column(({ chunkCount }) => chunkCount);
  column(({ devMajor }) => devMajor);
  column(({ devMinor }) => devMinor);
  column(({ path }) => path.length);
  column(({ linkTarget }) => linkTarget.length);
  column(({ xattrs }) => xattrs?.size ?? 0);
  const xattrs = entries.flatMap((entry) => [...(entry.xattrs ?? [])]);
  for (const [name] of xattrs) tail.number(name.length);
  for (const [, value] of xattrs) tail.number(value.length);
  for (const { path } of entries) tail.bytes(Buffer.from(path, 'latin1'));
  for (const { linkTarget } of entries) tail.bytes(Buffer.from(linkTarget, 'latin1'));
  for (const [name] of xattrs) tail.bytes(Buffer.from(name, 'latin1'));
  for (const [, value] of xattrs) tail.bytes(value);
}

/** Whether a file system can store the time of an entry: other times are 0, as after unpacking. */
function hasTime({ mtimeSeconds }: IndexEntry): boolean {
  return Math.abs(mtimeSeconds) < maxSeconds;
}

const maxSeconds = 2 ** 48;

/** Chunks and holes of a file are no more than its size: what is missing at its end is zeros. */
function checkFiles({ entries, chunks }: LayerIndex): void {
  let next = 0;
  let zeros = 0;
  for (const { path, size, firstChunk, chunkCount } of entries) {
    let bytes = 0;
    let data = 0;
    for (let row = firstChunk; row < firstChunk + chunkCount; row++) {
      bytes += chunks.hole[row]! + chunks.size[row]!;
      data += chunks.size[row]!;
    }
    zeros += size - data;
    if (bytes > size || (chunkCount > 0 && firstChunk !== next)) {
      throw new LazypullError(
        'InvalidArgument',
        `The chunks of "${printable(path)}" are not those that it has in the tar`,
      );
    }
    next += chunkCount;
  }
  if (zeros <= maxHoleBytes) return;
  throw new LazypullError('ResourceExhausted', `The layer has holes of more than ${maxHoleBytes} bytes`);
}

/**
 * Files of an image in a registry, without a mount and without a daemon: for `lazypull ls`, `cat` and `inspect`, and
 * for programs that use the package.
 *
 * Begin with `openImage`. `image-tree.ts` lays layers over each other, `inspect.ts` decides whether a layer can be
 * lazy.
 */

import { chunkTable, type ChunkTable } from '../chunks/chunk-table.ts';
import { LazypullError } from '../errors.ts';
import type { ChunkColumns } from '../formats/chunk-columns.ts';
import type { LayerIndex } from '../formats/layer-index.ts';
import { maxImageRows, maxImageTextBytes, xattrOverheadBytes } from '../formats/limits.ts';
import { type LayerTree } from '../formats/tree.ts';
import { type ImageFile, ImageTree } from './image-tree.ts';
import type { ResolvedImage } from '../images/resolve.ts';
import { Formats } from '../formats/index.ts';
import type { BytesNeeded, Codec, IndexPart } from '../formats/layer-format.ts';
import { readIndex } from '../formats/read-index.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { RegistryClient } from '../registry/client.ts';
import { inParallel } from '../util/in-parallel.ts';
import { unindexed } from '../chunks/layer-id.ts';
import { isPlainLayer, layerError, lazyLayer } from './layer-errors.ts';
import type { IndexFile, PlainLayers } from './plain-layers.ts';

const layersAtOnce = 4;

/** Compressed bytes of one request, unless one chunk needs more. */
const maxRequestBytes = 8 << 20;

/** Bytes between two streams that are fetched with them: more than the ends of chunks are rounded by. */
const maxGapBytes = 64 << 10;

/** Zeros are given in pieces of so many bytes. */
const zeroBytes = 1 << 20;

/** How often a wrong chunk is requested again, if another server may have the right one. */
const maxTries = 3;

/** An image whose tables of contents have been fetched. */
export interface OpenImage {
  readonly tree: ImageTree;
  /**
   * The bytes of a regular file, each verified against the digest of its chunk. Only the necessary bytes are fetched.
   *
   * @throws DataLoss for wrong bytes, if asking another server did not help
   */
  read(file: ImageFile): AsyncIterable<Buffer>;
}

/**
 * Fetches the tables of contents of all layers and verifies them against the manifest.
 *
 * @param plain reads the layers whose manifest names no index; they cannot be read without it
 * @throws an error that names the layer, and says what to do, if one cannot be read without pulling it
 */
export async function openImage(
  client: RegistryClient,
  image: ResolvedImage,
  plain?: PlainLayers,
  formats = new Formats(),
): Promise<OpenImage> {
  const { layers } = image.manifest;
  const blobs = layers.map(({ digest }) => client.blob(image.reference, digest));
  const bounds = new ImageBounds();
  const opened = await inParallel(layers, layersAtOnce, async (layer, i, signal): Promise<OpenLayer> => {
    const isPlain = plain !== undefined && isPlainLayer(layer, formats);
    const { format, id } = isPlain
      ? { format: formats.unindexed, id: unindexed(layer.digest) }
      : await lazyLayer(image, layer, blobs[i]!, formats);
    try {
      if (isPlain) {
        const { index, file } = await plain.read(layer, blobs[i]!, format, signal);
        bounds.count(index);
        const { codec } = format;
        return { blob: blobs[i]!, codec, codecData: index.codecData, tree: format.treeOf(index), file };
      }
      const index = await readIndex(format, blobs[i]!, id, signal);
      bounds.count(index);
      return { blob: blobs[i]!, codec: format.codec, codecData: index.codecData, tree: format.treeOf(index) };
    } catch (error) {
      throw layerError(image, layer, error);
    }
  });
  return {
    tree: new ImageTree(opened.map(({ tree }) => tree.root)),
    read: ({ entry, layer }) => {
      const { chunks } = opened[layer]!.tree;
      const holes = chunks.hole.subarray(entry.firstChunk, entry.firstChunk + entry.chunkCount);
      return withHoles(readChunks(opened[layer]!, chunksOf(chunks, entry)), holes, entry.size);
    },
  };
}

/** A layer whose index has been fetched. */
interface OpenLayer {
  readonly blob: Blob;
  readonly codec: Codec;
  readonly codecData: SharedArrayBuffer | undefined;
  readonly tree: LayerTree;
  /** Has the index, if that is not in the blob. */
  readonly file?: IndexFile;
}

/** Limits for all layers of an image together. */
class ImageBounds {
  #rows = 0;
  #textBytes = 0;

  /** @throws ResourceExhausted if a layer is too much in addition to the others */
  count({ entries, chunks }: LayerIndex): void {
    this.#rows += Math.max(entries.length, chunks.length);
    for (const { path, linkTarget, xattrs } of entries) {
      this.#textBytes += path.length + linkTarget.length;
      for (const [name, value] of xattrs ?? []) this.#textBytes += name.length + value.length + xattrOverheadBytes;
    }
    if (this.#rows <= maxImageRows && this.#textBytes <= maxImageTextBytes) return;
    const bound = `${maxImageRows} files and chunks, ${maxImageTextBytes} bytes of names and attributes`;
    throw new LazypullError('ResourceExhausted', `The layers of the image have more than ${bound} together`);
  }
}

/** The chunks of a file as a table of their own, in file order, without offsets in an image. */
function chunksOf(chunks: ChunkColumns, { firstChunk, chunkCount }: ImageFile['entry']): ChunkTable {
  const table = chunkTable(undefined, chunkCount);
  const end = firstChunk + chunkCount;
  for (const column of ['size', 'streamOffset', 'streamEnd', 'innerOffset'] as const) {
    table[column].set(chunks[column].subarray(firstChunk, end));
  }
  table.digest.set(chunks.digest.subarray(firstChunk * 32, end * 32));
  return table;
}

/** The content of a sparse file: its chunks with zeros before them, and to its end. */
async function* withHoles(chunks: AsyncIterable<Buffer>, holes: Float64Array, size: number): AsyncGenerator<Buffer> {
  let chunk = 0;
  let left = size;
  for await (const content of chunks) {
    const hole = holes[chunk++]!;
    yield* zeros(hole);
    yield content;
    left -= hole + content.length;
  }
  yield* zeros(left);
}

function* zeros(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= zeroBytes) yield Buffer.alloc(Math.min(left, zeroBytes));
}

async function* readChunks({ blob, codec, codecData, file }: OpenLayer, table: ChunkTable): AsyncGenerator<Buffer> {
  let tries = 0;
  for (let first = 0; first < table.length; ) {
    const { last, end } = nextRequest(table, codec.bytesNeeded, first);
    const start = table.streamOffset[first]!;
    const askedMs = performance.now();
    const pieces: Buffer[] = [];
    const chunks = { first, last };
    const readIndex = file && (await indexReader(file, codec.indexParts?.({ table, chunks, codecData }) ?? []));
    for await (const piece of blob.range(start, end)) pieces.push(piece);
    const run = { table, chunks, bytes: Buffer.concat(pieces), blobOffset: start, codecData, readIndex };
    for await (const unpacked of codec.unpack(run)) {
      if ('error' in unpacked) {
        if (++tries === maxTries || !(await blob.distrust(askedMs))) throw unpacked.error;
        break;
      }
      tries = 0;
      yield unpacked.content;
      first = unpacked.chunk + 1;
    }
  }
}

/**
 * Fetches parts of an index file, adjacent ones at once, and gives them by where they are. The codec compares them with
 * their digests.
 */
async function indexReader(
  file: IndexFile,
  parts: readonly IndexPart[],
): Promise<(start: number, end: number) => Uint8Array> {
  const here = new Map<number, Buffer>();
  for (let first = 0; first < parts.length; ) {
    let last = first + 1;
    while (last < parts.length && parts[last]!.start === parts[last - 1]!.end) last++;
    const { start } = parts[first]!;
    const bytes = await file.range(start, parts[last - 1]!.end);
    for (const part of parts.slice(first, last)) here.set(part.start, bytes.subarray(part.start - start));
    first = last;
  }
  return (start, end) => here.get(start)?.subarray(0, end - start) ?? Buffer.alloc(0);
}

/**
 * The chunks from `first` on that one request brings: those whose streams follow each other in the blob, and that come
 * out of it in this order.
 */
function nextRequest(table: ChunkTable, bytesNeeded: BytesNeeded, first: number): { last: number; end: number } {
  const start = table.streamOffset[first]!;
  let end = bytesNeeded(table, first).end;
  let last = first + 1;
  for (; last < table.length; last++) {
    const stream = table.streamOffset[last]!;
    const streamBefore = table.streamOffset[last - 1]!;
    const follows =
      stream === streamBefore
        ? table.innerOffset[last]! > table.innerOffset[last - 1]!
        : stream > streamBefore && stream <= end + maxGapBytes;
    const needed = bytesNeeded(table, last).end;
    if (!follows || needed - start > maxRequestBytes) break;
    end = Math.max(end, needed);
  }
  return { last, end };
}

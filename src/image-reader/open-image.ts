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
import type { BytesNeeded, Codec } from '../formats/layer-format.ts';
import { readIndex } from '../formats/read-index.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { RegistryClient } from '../registry/client.ts';
import { inParallel } from '../util/in-parallel.ts';
import { layerError, lazyLayer } from './layer-errors.ts';

const layersAtOnce = 4;

/** Compressed bytes of one request, unless one chunk needs more. */
const maxRequestBytes = 8 << 20;

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
 * @throws an error that names the layer, and says what to do, if one cannot be read without pulling it
 */
export async function openImage(
  client: RegistryClient,
  image: ResolvedImage,
  formats = new Formats(),
): Promise<OpenImage> {
  const { layers } = image.manifest;
  const blobs = layers.map(({ digest }) => client.blob(image.reference, digest));
  const bounds = new ImageBounds();
  const opened = await inParallel(layers, layersAtOnce, async (layer, i, signal): Promise<OpenLayer> => {
    const { format, id } = await lazyLayer(image, layer, blobs[i]!, formats);
    try {
      const index = await readIndex(format, blobs[i]!, id, signal);
      bounds.count(index);
      return { blob: blobs[i]!, codec: format.codec, codecData: index.codecData, tree: format.treeOf(index) };
    } catch (error) {
      throw layerError(image, layer, error);
    }
  });
  return {
    tree: new ImageTree(opened.map(({ tree }) => tree.root)),
    read: ({ entry, layer }) => readChunks(opened[layer]!, chunksOf(opened[layer]!.tree.chunks, entry)),
  };
}

/** A layer whose index has been fetched. */
interface OpenLayer {
  readonly blob: Blob;
  readonly codec: Codec;
  readonly codecData: SharedArrayBuffer | undefined;
  readonly tree: LayerTree;
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

async function* readChunks({ blob, codec, codecData }: OpenLayer, table: ChunkTable): AsyncGenerator<Buffer> {
  let tries = 0;
  for (let first = 0; first < table.length; ) {
    const { last, end } = nextRequest(table, codec.bytesNeeded, first);
    const start = table.streamOffset[first]!;
    const askedMs = performance.now();
    const pieces: Buffer[] = [];
    for await (const piece of blob.range(start, end)) pieces.push(piece);
    const run = { table, chunks: { first, last }, bytes: Buffer.concat(pieces), blobOffset: start, codecData };
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
 * The chunks from `first` on that one request brings: those that are adjacent in the blob too, and come out of it in
 * this order.
 */
function nextRequest(table: ChunkTable, bytesNeeded: BytesNeeded, first: number): { last: number; end: number } {
  const start = table.streamOffset[first]!;
  let end = bytesNeeded(table, first).end;
  let last = first + 1;
  for (; last < table.length; last++) {
    const sameStream = table.streamOffset[last] === table.streamOffset[last - 1];
    const follows = sameStream
      ? table.innerOffset[last]! > table.innerOffset[last - 1]!
      : table.streamOffset[last] === table.streamEnd[last - 1];
    if (!follows || bytesNeeded(table, last).end - start > maxRequestBytes) break;
    end = Math.max(end, bytesNeeded(table, last).end);
  }
  return { last, end };
}

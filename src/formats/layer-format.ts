import type { ChunkRange } from '../chunks/chunk-range.ts';
import type { ChunkTable } from '../chunks/chunk-table.ts';
import type { Digest } from '../chunks/digest.ts';
import type { CheckedChunk } from '../chunks/checked-chunk.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { LayerIndex } from './layer-index.ts';
import type { LayerTree } from './tree.ts';

/**
 * The labels of a snapshot, or the annotations of a layer in a manifest: the names for an index are the same in both.
 */
export type Labels = Readonly<Record<string, string>>;

/**
 * How to read the layers of one kind without pulling them: where their index is, what it says, and how chunks come out
 * of the blob. The main thread calls `identify`, `labelsOf`, `fetchIndex` and `codec.bytesNeeded`. `parse` and
 * `codec.unpack` run in worker threads, which find the format by its name.
 */
export interface LayerFormat {
  /** Stored in the records of layers on the disk: it never changes, and no other format ever gets it. */
  readonly name: string;
  /**
   * The digest of a layer's index. Undefined if the labels name none of this format. @throws InvalidArgument if it is
   * not a sha256 digest
   */
  identify(labels: Labels): Digest | undefined;
  /** The labels by which `identify` finds the index. */
  labelsOf(index: Digest): Labels;
  /** Whether the end of a blob, some KB of it, looks like this format. For messages: nothing of it is verified. */
  recognizes(tail: BlobEnd): boolean;
  /**
   * Fetches the index, not verified in any way.
   *
   * @param file contains the index: the layer's blob, or a file beside it
   * @param tail the end of that file
   * @throws FailedPrecondition if the file is not of this format; ResourceExhausted if its index is too large; what
   * `file` throws
   */
  readonly fetchIndex: (file: Pick<Blob, 'range'>, tail: BlobEnd, options?: FetchOptions) => Promise<RawIndex>;
  /**
   * Interprets an index. Pure and synchronous.
   *
   * @throws DataLoss if the index is damaged or not the wanted one; ResourceExhausted above the bounds of `limits.ts`;
   * FailedPrecondition if the layer can only be pulled
   */
  parse(raw: RawIndex, wanted: WantedIndex): ParsedIndex;
  /** The files of an index's entries, without the format's own files. Throws as `buildTree`. */
  readonly treeOf: (index: LayerIndex) => LayerTree;
  readonly codec: Codec;
}

/**
 * How much of the end of a file is fetched before its index is known, in bytes: most of an index, for most layers all
 * of it.
 */
export const indexTailBytes = 1 << 20;

/** The end of a blob, and the size of the blob. */
export interface BlobEnd {
  readonly data: Buffer;
  readonly size: number;
}

export interface FetchOptions {
  /** Is called with the number of bytes each time that some arrive. */
  readonly onBytes?: (bytes: number) => void;
  /** Ends it: then it rejects. */
  readonly signal?: AbortSignal | undefined;
}

/** The raw bytes of an index, for `parse`. It goes to another thread. */
export interface RawIndex {
  readonly bytes: Uint8Array;
  /** The offset of the bytes in the file, and the length of the file. */
  readonly start: number;
  readonly fileBytes: number;
  /**
   * Bytes of the file before this are data of the layer, as far as the file's end was fetched with the index: 0 if the
   * file is not the blob.
   */
  readonly dataEnd: number;
}

/** The expected properties of an index. */
export interface WantedIndex {
  /** Digest of the compressed layer. */
  readonly layer: Digest;
  /** Digest of the index. Undefined if it is not known yet: then the user of the result compares it. */
  readonly index: Digest | undefined;
  /** Maximum length of the decompressed index, in bytes. Undefined for the bound in `limits.ts`. */
  readonly maxBytes?: number | undefined;
}

export interface ParsedIndex extends LayerIndex {
  /** Digest of the index. */
  readonly digest: Digest;
  /** Size of the compressed layer. */
  readonly blobBytes: number;
  /**
   * Data that the codec needs besides the table of chunks. It is kept in the layer's directory, and passed to the codec
   * with each call.
   */
  readonly codecData?: SharedArrayBuffer | undefined;
}

/** How chunks come out of the bytes of a blob. */
export interface Codec {
  /**
   * The blob bytes [start, end) that a chunk needs: from the start of its stream to a bound that its content cannot
   * exceed. Chunks of one stream have the same start. It is called often, and in the main thread.
   */
  readonly bytesNeeded: BytesNeeded;
  /**
   * The parts of the index file that `unpack` will read for some chunks, if it reads any. Called in the main thread.
   */
  readonly indexParts?: ((run: Pick<PackedRun, 'table' | 'chunks' | 'codecData'>) => readonly IndexPart[]) | undefined;
  /** Yields each chunk of a run once: verified, or with its error. No bytes can make it reject. */
  unpack(run: PackedRun): AsyncIterable<CheckedChunk>;
}

/** Bytes [start, end) of an index file, and their sha256. */
export interface IndexPart {
  readonly start: number;
  readonly end: number;
  readonly digest: Uint8Array;
}

export type BytesNeeded = (table: ChunkTable, chunk: number) => { readonly start: number; readonly end: number };

/** A run of chunks, and the bytes of the blob that hold them. */
export interface PackedRun {
  readonly table: ChunkTable;
  readonly chunks: ChunkRange;
  /** The blob from `blobOffset` on, at least as far as the chunks need. */
  readonly bytes: Buffer;
  readonly blobOffset: number;
  readonly codecData?: SharedArrayBuffer | undefined;
  /**
   * Bytes [start, end) of the index file, for codecs that need more of it while they unpack. Throws if they are not
   * here.
   */
  readonly readIndex?: ((start: number, end: number) => Uint8Array) | undefined;
}

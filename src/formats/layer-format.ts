import type { ChunkRange } from '../chunks/chunk-range.ts';
import type { ChunkTable } from '../chunks/chunk-table.ts';
import type { Digest } from '../chunks/digest.ts';
import type { CheckedChunk } from '../chunks/checked-chunk.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { LayerIndex } from './layer-index.ts';
import type { LayerTree } from './tree.ts';

/** The labels of a snapshot, or the annotations of a layer in a manifest: what tells of an index has the same name in both. */
export type Labels = Readonly<Record<string, string>>;

/**
 * How the layers of one kind are read without being pulled: where their index is, what it says, and how chunks come out of the blob. The main thread calls `identify`,
 * `labelsOf`, `fetchIndex` and `codec.bytesNeeded`; `parse` and `codec.unpack` run in worker threads, which find the format by its name.
 */
export interface LayerFormat {
  /** Stands in the records of layers on the disk: it stays what it is, and no other format ever gets it. */
  readonly name: string;
  /** The digest of a layer's index. Undefined if the labels name none of this format. @throws InvalidArgument for one that is no sha256 digest */
  identify(labels: Labels): Digest | undefined;
  /** The labels by which `identify` finds the index. */
  labelsOf(index: Digest): Labels;
  /** Whether the end of a blob, some KB of it, looks like one of this format. For messages: nothing of it is verified. */
  recognizes(tail: BlobEnd): boolean;
  /**
   * Brings the index, verified by nothing yet.
   *
   * @param file has the index: the layer's blob, or a file beside it
   * @param tail the end of that file
   * @throws FailedPrecondition if the file is not of this format; ResourceExhausted if its index is too large; what `file` throws
   */
  readonly fetchIndex: (file: Pick<Blob, 'range'>, tail: BlobEnd, options?: FetchOptions) => Promise<RawIndex>;
  /**
   * Says what an index means. Pure and synchronous.
   *
   * @throws DataLoss for an index that is damaged or another than is wanted; ResourceExhausted for one past the bounds of `limits.ts`; FailedPrecondition for a layer
   *   that can only be pulled
   */
  parse(raw: RawIndex, wanted: WantedIndex): ParsedIndex;
  /** What the entries of an index show. Files of the format's own are not in it. Throws as `buildTree`. */
  readonly treeOf: (index: LayerIndex) => LayerTree;
  readonly codec: Codec;
}

/** How much of the end of a file is fetched before anything is known of its index, in bytes: most of an index, for most layers all of it. */
export const indexTailBytes = 1 << 20;

/** The end of a blob, and the size of all of it. */
export interface BlobEnd {
  readonly data: Buffer;
  readonly size: number;
}

export interface FetchOptions {
  /** Is told how many bytes came, each time that some come. */
  readonly onBytes?: (bytes: number) => void;
  /** Ends it: then it rejects. */
  readonly signal?: AbortSignal | undefined;
}

/** An index as it came, for `parse`. It goes to another thread. */
export interface RawIndex {
  readonly bytes: Uint8Array;
  /** Where they begin in the file, and how long that is. */
  readonly start: number;
  readonly fileBytes: number;
  /** Bytes of the file before this are data of the layer, as far as the file's end was fetched with the index: 0 if the file is not the blob. */
  readonly dataEnd: number;
}

/** What an index must be. */
export interface WantedIndex {
  /** Of the compressed layer. */
  readonly layer: Digest;
  /** Of the index. Undefined if that is not known yet: then whoever uses the result compares it. */
  readonly index: Digest | undefined;
  /** How long the index may be once it is decompressed, in bytes. Undefined for what `limits.ts` says. */
  readonly maxBytes?: number | undefined;
}

export interface ParsedIndex extends LayerIndex {
  /** Of the index. */
  readonly digest: Digest;
  /** Of the compressed layer. */
  readonly blobBytes: number;
  /** What the codec needs to know beside the table of chunks. It is kept in the layer's directory, and given to the codec with each call. */
  readonly codecData?: SharedArrayBuffer | undefined;
}

/** How chunks come out of the bytes of a blob. */
export interface Codec {
  /**
   * The blob bytes [start, end) that a chunk needs: from the start of its stream to a bound that its content cannot exceed. Chunks of one stream have the same start.
   * Called often, and in the main thread.
   */
  readonly bytesNeeded: BytesNeeded;
  /** What `unpack` will ask of the index file for some chunks, if it asks for anything. Called in the main thread. */
  readonly indexParts?: ((run: Pick<PackedRun, 'table' | 'chunks' | 'codecData'>) => readonly IndexPart[]) | undefined;
  /** Gives each chunk of a run once, verified, or why there is none. Rejects with nothing that the bytes can cause. */
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
  /** Bytes [start, end) of the file that has the index, for codecs that need more of it while they unpack. Throws if they are not here. */
  readonly readIndex?: ((start: number, end: number) => Uint8Array) | undefined;
}

/** How a blob is compressed, by its first bytes: media types often lie. */
export type Compression = 'gzip' | 'zstd' | 'none';

/**
 * How reading begins at a checkpoint: with the header of a gzip member or of a zstd frame; inside of a deflate stream with what it has put out before; or
 * with the bytes as they are. The numbers are those of the layer index file.
 */
export const spanKinds = { header: 0, window: 1, stored: 2 } as const;

export type SpanKind = (typeof spanKinds)[keyof typeof spanKinds];

/** A place in a blob from which on it can be decompressed. A span is what lies between two of them. */
export interface Checkpoint {
  readonly kind: SpanKind;
  /** The byte of the blob that holds its first bit. */
  readonly blobOffset: number;
  /** How many of that byte's low bits belong to what is before, 0 to 7. */
  readonly bits: number;
  /** How many bytes the blob has put out before. */
  readonly outputOffset: number;
  /** Of kind `window` the last 32 KiB of these, or what its member has put out if that is less; else nothing. What the span does not refer to may be zeros. */
  readonly window: Uint8Array;
}

/** Where the first span of a blob begins. */
export function firstCheckpoint(compression: Compression): Checkpoint {
  const kind = compression === 'none' ? spanKinds.stored : spanKinds.header;
  return { kind, blobOffset: 0, bits: 0, outputOffset: 0, window: Buffer.alloc(0) };
}

/** What deflate refers back to at most. */
export const maxWindowBytes = 32 << 10;

/** How much a span puts out, unless a block of deflate is longer. Smaller ones make a larger index, and files that are read sooner. */
export const spanBytes = 3 << 19;

/** The same of spans that need no window, as blobs of many gzip members have them. */
export const memberSpanBytes = 1 << 20;

/** What a span may put out. A read at its end waits for all of it. */
export const maxSpanBytes = 64 << 20;

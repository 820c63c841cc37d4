/** How a blob is compressed, by its first bytes: media types are often wrong. */
export type Compression = 'gzip' | 'zstd' | 'none';

/**
 * How reading begins at a checkpoint: with the header of a gzip member or of a zstd frame; inside of a deflate stream,
 * with its previous output; or with uncompressed bytes. The numbers are those of the layer index file.
 */
export const spanKinds = { header: 0, window: 1, stored: 2 } as const;

export type SpanKind = (typeof spanKinds)[keyof typeof spanKinds];

/** A place in a blob where decompression can begin. A span is the part between two of them. */
export interface Checkpoint {
  readonly kind: SpanKind;
  /** The byte of the blob that holds its first bit. */
  readonly blobOffset: number;
  /** How many of that byte's low bits belong to earlier data, 0 to 7. */
  readonly bits: number;
  /** The size of the blob's output before it. */
  readonly outputOffset: number;
  /**
   * For kind `window`, the last 32 KiB of that output, or the output of its member if that is less; otherwise empty.
   * Bytes that the span does not refer to may be zeros.
   */
  readonly window: Uint8Array;
}

/** The start of a blob's first span. */
export function firstCheckpoint(compression: Compression): Checkpoint {
  const kind = compression === 'none' ? spanKinds.stored : spanKinds.header;
  return { kind, blobOffset: 0, bits: 0, outputOffset: 0, window: Buffer.alloc(0) };
}

/** How far deflate refers back at most. */
export const maxWindowBytes = 32 << 10;

/**
 * The output of a span, unless a deflate block is longer. Smaller spans make a larger index, and files that are read
 * sooner.
 */
export const spanBytes = 3 << 19;

/** The same for spans without a window, as in blobs of many gzip members. */
export const memberSpanBytes = 1 << 20;

/** Maximum output of a span. A read at its end waits for all of it. */
export const maxSpanBytes = 64 << 20;

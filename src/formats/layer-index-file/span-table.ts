import { LazypullError } from '../../errors.ts';
import { digestBytes } from '../chunk-columns.ts';
import type { Checkpoint } from '../blob-spans.ts';

/**
 * The spans of a blob as columns, one element a span, in the order of the blob. All arrays have `length` elements. One
 * SharedArrayBuffer backs them, so that threads share it. An uncompressed tar has none: each chunk is a range of its
 * own.
 */
export interface SpanTable {
  readonly buffer: SharedArrayBuffer;
  readonly length: number;
  /**
   * A span needs bytes [streamOffset, streamEnd) of the blob. The offsets are strictly ascending; streams share a byte
   * if a span begins inside of one.
   */
  readonly streamOffset: Float64Array;
  readonly streamEnd: Float64Array;
  /** The start of its output in the tar. */
  readonly outputOffset: Float64Array;
  /** The offset of the stored window in the layer index, and its length; 0 for none. */
  readonly windowOffset: Float64Array;
  readonly windowBytes: Uint32Array;
  /** sha256 of the stored window, 32 bytes for each span. */
  readonly windowDigest: Uint8Array;
  /** One of `spanKinds`. */
  readonly kind: Uint8Array;
  /** How many low bits of its first byte are not its own. */
  readonly bits: Uint8Array;
}

const bytesPerSpan = 4 * 8 + 4 + digestBytes + 2;

/**
 * A table of `length` spans over `shared`, the buffer of another table, or over new memory of zeros. @throws DataLoss
 * if `shared` does not have that size
 */
export function spanTable(shared: SharedArrayBuffer | undefined, length: number): SpanTable {
  const buffer = shared ?? new SharedArrayBuffer(length * bytesPerSpan);
  if (buffer.byteLength !== length * bytesPerSpan) {
    throw new LazypullError('DataLoss', `A table of ${length} spans cannot have ${buffer.byteLength} bytes`);
  }
  const column = (index: number): Float64Array => new Float64Array(buffer, index * 8 * length, length);
  const rest = 4 * 8 * length;
  return {
    buffer,
    length,
    streamOffset: column(0),
    streamEnd: column(1),
    outputOffset: column(2),
    windowOffset: column(3),
    windowBytes: new Uint32Array(buffer, rest, length),
    windowDigest: new Uint8Array(buffer, rest + 4 * length, digestBytes * length),
    kind: new Uint8Array(buffer, rest + (4 + digestBytes) * length, length),
    bits: new Uint8Array(buffer, rest + (4 + digestBytes + 1) * length, length),
  };
}

/** The number of spans of a table with so many bytes. */
export function spanCount(bytes: number): number {
  return Math.floor(bytes / bytesPerSpan);
}

/** The index of the span whose stream begins at a byte of the blob; -1 for none. */
export function spanOf({ streamOffset, length }: SpanTable, offset: number): number {
  let low = 0;
  let high = length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const found = streamOffset[middle]!;
    if (found === offset) return middle;
    if (found < offset) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** The end in the blob of the bytes of a span that ends at `next`, or at the end of the data. */
export function streamEndAt(next: Pick<Checkpoint, 'blobOffset' | 'bits'> | undefined, dataEnd: number): number {
  return next === undefined ? dataEnd : next.blobOffset + (next.bits > 0 ? 1 : 0);
}

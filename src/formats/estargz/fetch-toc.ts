import { LazypullError } from '../../errors.ts';
import { footerBytes, readFooter } from './footer.ts';
import { readToc } from './toc.ts';
import type { LayerIndex } from '../layer-index.ts';
import type { Blob } from '../../registry/blob/blob.ts';

/** The longest compressed table of contents that is fetched. */
const maxCompressedTocBytes = 128 << 20;

/** How long the rest of a table of contents may take that is longer than the tail. */
const tocTimeoutMs = 60_000;

/** How much of a blob's end is asked for: footer and table of contents of most layers. */
export const tocTailBytes = 1 << 20;

/** A table of contents as it lies in the blob: the bytes from `tocOffset` on, without the footer. */
export interface TocBytes {
  readonly tocOffset: number;
  readonly compressedToc: Uint8Array;
}

/** The index of an eStargz layer, verified against the TOC digest of its manifest. Throws what says why it cannot be read lazily. */
export async function readLayerIndex(blob: Blob, tocDigest: string, signal?: AbortSignal): Promise<LayerIndex> {
  const { data, size } = await blob.tail(tocTailBytes, signal);
  const { tocOffset, compressedToc } = await fetchToc(blob, data, size);
  return readToc(compressedToc, { tocDigest, blobSize: size, tocOffset });
}

/**
 * The table of contents of an eStargz blob of which the end is here. What is not in it is fetched.
 *
 * @param onBytes is told how many bytes came
 * @param signal ends that: then it rejects
 * @throws FailedPrecondition where the blob is not eStargz; ResourceExhausted where its table is too large
 */
export async function fetchToc(
  blob: Pick<Blob, 'range'>,
  tail: Buffer,
  blobBytes: number,
  onBytes: (bytes: number) => void = () => {},
  signal?: AbortSignal,
): Promise<TocBytes> {
  const { tocOffset } = readFooter(tail.subarray(Math.max(0, tail.length - footerBytes)), blobBytes);
  const tailStart = blobBytes - tail.length;
  if (blobBytes - tocOffset > maxCompressedTocBytes) {
    throw new LazypullError('ResourceExhausted', `The table of contents has ${blobBytes - tocOffset} bytes: too many`);
  }
  const end = tail.length - footerBytes;
  if (tocOffset >= tailStart) return { tocOffset, compressedToc: tail.subarray(tocOffset - tailStart, end) };
  const timeout = AbortSignal.timeout(tocTimeoutMs);
  const stop = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  const pieces: Buffer[] = [];
  for await (const piece of blob.range(tocOffset, tailStart, stop)) {
    onBytes(piece.length);
    pieces.push(piece);
  }
  return { tocOffset, compressedToc: Buffer.concat([...pieces, tail.subarray(0, end)]) };
}

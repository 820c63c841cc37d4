import { LazypullError } from '../../errors.ts';
import { footerBytes, readFooter } from './footer.ts';
import type { BlobEnd, FetchOptions, RawIndex } from '../layer-format.ts';
import type { Blob } from '../../registry/blob/blob.ts';

/** A longer compressed table of contents is not fetched. */
const maxCompressedTocBytes = 128 << 20;

/** If a table of contents is longer than the tail, how long the rest may take. */
const tocTimeoutMs = 60_000;

/**
 * The table of contents of an eStargz blob whose end is here, without the footer. A missing part is fetched.
 *
 * @throws FailedPrecondition if the blob is not eStargz; ResourceExhausted if its table is too large
 */
export async function fetchToc(
  blob: Pick<Blob, 'range'>,
  { data, size }: BlobEnd,
  { onBytes, signal }: FetchOptions = {},
): Promise<RawIndex> {
  const { tocOffset: start } = readFooter(data.subarray(Math.max(0, data.length - footerBytes)), size);
  const dataStart = size - data.length;
  if (size - start > maxCompressedTocBytes) {
    throw new LazypullError('ResourceExhausted', `The table of contents has ${size - start} bytes: too many`);
  }
  const end = data.length - footerBytes;
  if (start >= dataStart)
    return { bytes: data.subarray(start - dataStart, end), start, fileBytes: size, dataEnd: start };
  const timeout = AbortSignal.timeout(tocTimeoutMs);
  const stop = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  const pieces: Buffer[] = [];
  for await (const piece of blob.range(start, dataStart, stop)) {
    onBytes?.(piece.length);
    pieces.push(piece);
  }
  return { bytes: Buffer.concat([...pieces, data.subarray(0, end)]), start, fileBytes: size, dataEnd: start };
}

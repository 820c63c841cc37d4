import { hash } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { maxWindowBytes } from '../blob-spans.ts';
import { damaged } from './numbers.ts';

/** Maximum length of a stored window: deflate adds some bytes to data that it cannot make smaller. */
export const maxStoredWindowBytes = maxWindowBytes + 64;

/** A fast pull has no time for more. A higher level would make windows 8 % smaller. */
const level = 1;

/** A window in the form in which a layer index stores it. */
export function storeWindow(window: Uint8Array): Buffer {
  return deflateRawSync(window, { level });
}

/**
 * A window of a layer index, as it was when its checkpoint was taken.
 *
 * @param digest sha256 of `stored`, from the index
 * @throws DataLoss if it is another one
 */
export function openWindow(stored: Uint8Array, digest: Uint8Array): Buffer {
  if (!hash('sha256', stored, 'buffer').equals(digest)) throw damaged('the digest of a window does not match');
  try {
    return inflateRawSync(stored, { maxOutputLength: maxWindowBytes, chunkSize: maxWindowBytes });
  } catch (cause) {
    throw damaged('a window cannot be inflated', cause);
  }
}

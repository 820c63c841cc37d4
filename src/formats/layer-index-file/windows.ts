import { hash } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { maxWindowBytes } from '../spans.ts';
import { damaged } from './numbers.ts';

/** The longest that a window can be as it is stored: deflate adds some bytes to what it cannot make smaller. */
export const maxStoredWindowBytes = maxWindowBytes + 64;

/** A fast pull has no time for more, and more would make windows 8 % smaller. */
const level = 1;

/** A window as it lies in a layer index. */
export function storeWindow(window: Uint8Array): Buffer {
  return deflateRawSync(window, { level });
}

/**
 * A window of a layer index, as it was when its checkpoint was taken.
 *
 * @param digest sha256 of `stored`, as the index has it
 * @throws DataLoss if it is another one
 */
export function openWindow(stored: Uint8Array, digest: Uint8Array): Buffer {
  if (!hash('sha256', stored, 'buffer').equals(digest)) throw damaged('a window has another digest');
  try {
    return inflateRawSync(stored, { maxOutputLength: maxWindowBytes, chunkSize: maxWindowBytes });
  } catch (cause) {
    throw damaged('a window cannot be inflated', cause);
  }
}

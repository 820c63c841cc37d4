import { LazypullError } from '../errors.ts';
import type { ByteString } from './layer-index.ts';
import { printable } from '../util/printable.ts';
import { maxNameBytes, maxPathBytes } from './limits.ts';

/**
 * A path relative to the layer's root: without `.`, empty parts and slashes at its ends. `..` goes up in the text, but
 * not above the root. The root is ''.
 *
 * @throws InvalidArgument for a path with a NUL; ResourceExhausted above the limits of Linux's names and paths
 */
export function cleanPath(path: ByteString): ByteString {
  if (path.length > maxPathBytes) throw tooLong(path, maxPathBytes);
  if (path.includes('\0')) throw new LazypullError('InvalidArgument', `The path "${shownPath(path)}" has a NUL in it`);
  const relative = withoutOuterSlashes(path);
  const clean = isClean(relative) ? relative : cleanSlowly(relative);
  let start = 0;
  for (let end = clean.indexOf('/'); end >= 0; end = clean.indexOf('/', start)) {
    if (end - start > maxNameBytes) throw tooLong(path, maxNameBytes);
    start = end + 1;
  }
  if (clean.length - start > maxNameBytes) throw tooLong(path, maxNameBytes);
  return clean;
}

const dot = 0x2e;
const slash = 0x2f;

/** The path without a leading `/` or `./`, and without one trailing `/`: what most tars have. */
function withoutOuterSlashes(path: ByteString): ByteString {
  let start = 0;
  for (;;) {
    if (path.charCodeAt(start) === slash) start++;
    else if (path.charCodeAt(start) === dot && path.charCodeAt(start + 1) === slash) start += 2;
    else break;
  }
  const end = path.charCodeAt(path.length - 1) === slash ? path.length - 1 : path.length;
  return path.slice(start, end);
}

/** False if a part is '', or may be `.` or `..`. */
function isClean(path: ByteString): boolean {
  return (
    path.charCodeAt(0) !== dot &&
    path.charCodeAt(path.length - 1) !== slash &&
    !path.includes('//') &&
    !path.includes('/.')
  );
}

function cleanSlowly(path: ByteString): ByteString {
  const parts: ByteString[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/** A path for messages: `?` or escapes stand for bytes that are not UTF-8 or not printable. */
export function shownPath(path: ByteString): string {
  return printable(Buffer.from(path, 'latin1').toString('utf8'));
}

function tooLong(path: ByteString, limit: number): LazypullError {
  return new LazypullError(
    'ResourceExhausted',
    `The path "${shownPath(path.slice(0, 80))}…" has a part of more than ${limit} bytes`,
  );
}

import { hash } from 'node:crypto';
import { LazypullError } from '../errors.ts';

/**
 * `sha256:` and 64 lower-case hex digits: the name of a blob, an index or a chunk. The compiler does not check it;
 * `isSha256` does.
 */
export type Digest = string;

const prefix = 'sha256:';
const hexPattern = /^[0-9a-f]{64}$/;

/** Whether a text is a sha256 digest. (Registries have others too: `isDigest` of registry/reference.ts.) */
export function isSha256(text: string): boolean {
  return text.startsWith(prefix) && isSha256Hex(text.slice(prefix.length));
}

/** Whether a text is the hex of a sha256 digest, which is how directories are named. */
export function isSha256Hex(text: string): boolean {
  return hexPattern.test(text);
}

/** The 64 hex digits of a digest. @throws InvalidArgument if it is not one; `what` names it in the message */
export function hexOf(digest: Digest, what = 'digest'): string {
  if (isSha256(digest)) return digest.slice(prefix.length);
  throw new LazypullError('InvalidArgument', `The ${what} "${digest.slice(0, 100)}" is not a sha256 digest`);
}

export function digestOfHex(hex: string): Digest {
  return prefix + hex;
}

export function sha256(content: string | NodeJS.ArrayBufferView): Digest {
  return prefix + hash('sha256', content);
}

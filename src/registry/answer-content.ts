import { createHash } from 'node:crypto';
import { LazypullError } from '../errors.ts';
import type { Answer } from './http/transport.ts';
import { isDigest } from './reference.ts';
import { headerOf } from './refused-answer.ts';

/** The media type in the head of an answer, without parameters. */
export function mediaTypeOf(answer: Answer): string | undefined {
  return headerOf(answer, 'content-type')?.split(';', 1)[0]?.trim();
}

/** The digest covers the media type inside a manifest, but not that of the header. */
export function embeddedMediaType(bytes: Buffer): string | undefined {
  try {
    const mediaType: unknown = JSON.parse(bytes.toString('utf8'))?.mediaType;
    return typeof mediaType === 'string' && mediaType !== '' ? mediaType : undefined;
  } catch {
    return undefined;
  }
}

/** The digest of bytes. `algorithm` is one that Node knows, such as sha256. */
export function digestOf(algorithm: string, bytes: Uint8Array): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

/** Throws InvalidArgument if it is no digest. */
export function requireDigest(digest: string): void {
  if (!isDigest(digest)) {
    throw new LazypullError(
      'InvalidArgument',
      `Cannot address a blob by ${JSON.stringify(digest.slice(0, 200))}: it is not a digest`,
    );
  }
}

/**
 * The URL of the next page that a header Link (RFC 8288) names, at the server of this one; undefined if it names none.
 */
export function nextPage(link: string | undefined, at: URL): URL | undefined {
  const target = /<(?<target>[^<>]*)>[^<>,]*;\s*rel="?next"?/i.exec(link ?? '')?.groups?.['target'];
  if (target === undefined || !URL.canParse(target, at.href)) return undefined;
  const { pathname, search } = new URL(target, at);
  return new URL(pathname + search, at.origin);
}

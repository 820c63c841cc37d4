import { isSha256 } from '../chunks/digest.ts';
import { isObject } from '../images/go-json.ts';

/** How an index came to this machine. */
export type OriginKind = 'made' | 'repository' | 'referrer' | 'imported';

/** The origin of an index. It is stored with the index: trust is decided again at each use. */
export interface IndexOrigin {
  readonly kind: OriginKind;
  /** The repository that had it, as `host/repository`; the name of the imported file; '' if it was made here. */
  readonly where: string;
}

/** The part of an index file that a mount needs: its last bytes. */
export interface TailMark {
  readonly bytes: number;
  /** `sha256:<hex>` of them. */
  readonly digest: string;
}

/** An Ed25519 signature (RFC 8032) of `signedText`. */
export interface IndexSignature {
  /** `keyIdOf` the public key. */
  readonly key: string;
  /** 64 bytes in base64. */
  readonly value: string;
}

const kinds: readonly string[] = ['made', 'repository', 'referrer', 'imported'];

/** Longer names than a repository or a path can have. */
const maxWhereLength = 4096;

/** An origin in words, after "the index was": `made here`, `found in "registry.example/team/indexes"`. */
export function originText({ kind, where }: IndexOrigin): string {
  if (kind === 'made') return 'made here';
  if (kind === 'imported') return `imported from "${where}"`;
  return kind === 'referrer' ? `found beside the image in "${where}"` : `found in "${where}"`;
}

/** An origin from JSON of any kind; undefined if it is not one. */
export function parseOrigin(value: unknown): IndexOrigin | undefined {
  if (!isObject(value)) return undefined;
  const { kind, where } = value;
  if (typeof kind !== 'string' || !kinds.includes(kind)) return undefined;
  if (typeof where !== 'string' || where.length > maxWhereLength) return undefined;
  return { kind: kind as OriginKind, where };
}

/** The same for the description of a tail. */
export function parseTail(value: unknown): TailMark | undefined {
  if (!isObject(value)) return undefined;
  const { bytes, digest } = value;
  if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < 1) return undefined;
  return typeof digest === 'string' && isSha256(digest) ? { bytes, digest } : undefined;
}

/** The same for a signature. */
export function parseSignature(value: unknown): IndexSignature | undefined {
  if (!isObject(value)) return undefined;
  const { key, value: text } = value;
  if (typeof key !== 'string' || !/^[0-9a-f]{16}$/.test(key)) return undefined;
  if (typeof text !== 'string' || !/^[A-Za-z0-9+/]{86}==$/.test(text)) return undefined;
  return { key, value: text };
}

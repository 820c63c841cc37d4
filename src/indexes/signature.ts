import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { LazypullError } from '../errors.ts';
import type { IndexSignature, TailMark } from './index-origin.ts';

/** The subject of a signature: an index file, and its layer. */
export interface SignedIndex {
  /** `sha256:<hex>` of the layer. */
  readonly layer: string;
  /** `sha256:<hex>` of the index file, and its bytes. */
  readonly digest: string;
  readonly size: number;
  readonly tail: TailMark;
}

/** The DER of an Ed25519 public key before its 32 bytes (RFC 8410, 4). */
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex');
const rawKeyBytes = 32;

/** A file with a key is much shorter. */
export const maxKeyBytes = 64 << 10;

/** Hex digits of the digest of a key that name it. */
const keyIdLength = 16;

/**
 * The signed text, in UTF-8. It names the tail too: a mount reads only that part, and it has the digests of everything
 * else.
 */
export function signedText({ layer, digest, size, tail }: SignedIndex): string {
  return `lazypull layer index 1\nlayer ${layer}\nindex ${digest} ${size}\ntail ${tail.digest} ${tail.bytes}\n`;
}

/** @throws InvalidArgument if the key is not an Ed25519 private key */
export function signIndex(index: SignedIndex, key: KeyObject): IndexSignature {
  const value = sign(null, Buffer.from(signedText(index)), key).toString('base64');
  return { key: keyIdOf(createPublicKey(key)), value };
}

/** The first 16 hex digits of the sha256 of the 32 bytes of a public key. */
export function keyIdOf(key: KeyObject): string {
  const raw = key.export({ type: 'spki', format: 'der' }).subarray(spkiPrefix.length);
  return createHash('sha256').update(raw).digest('hex').slice(0, keyIdLength);
}

/**
 * Reads an Ed25519 private key in PEM (PKCS #8, as `openssl genpkey -algorithm ed25519` writes it).
 *
 * @param name of the file, for the message
 * @throws InvalidArgument for anything else
 */
export function parsePrivateKey(pem: string | Buffer, name: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw unusable(`the private key "${name}"`); // the cause might quote it
  }
  if (key.asymmetricKeyType !== 'ed25519') throw unusable(`the private key "${name}"`);
  return key;
}

/**
 * Reads an Ed25519 public key: in PEM, or its 32 bytes or its DER in base64.
 *
 * @throws InvalidArgument for anything else
 */
export function parsePublicKey(text: string): KeyObject {
  try {
    const key = createPublicKey(text.includes('-----BEGIN') ? text : derOf(text));
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // said below
  }
  throw unusable(`the public key ${JSON.stringify(text.slice(0, 80))}`);
}

function derOf(base64: string): { key: Buffer; format: 'der'; type: 'spki' } {
  const bytes = Buffer.from(base64.trim(), 'base64');
  const key = bytes.length === rawKeyBytes ? Buffer.concat([spkiPrefix, bytes]) : bytes;
  return { key, format: 'der', type: 'spki' };
}

function unusable(what: string): LazypullError {
  return new LazypullError('InvalidArgument', `Cannot use ${what}: it is not an Ed25519 key`, {
    hint: 'make one with "openssl genpkey -algorithm ed25519 -out key.pem" and "openssl pkey -in key.pem -pubout"',
  });
}

/** The public keys whose signatures count, by `keyIdOf`. */
export class TrustedKeys {
  readonly #keys: ReadonlyMap<string, KeyObject>;

  /** @throws InvalidArgument for an invalid key */
  constructor(texts: readonly string[]) {
    this.#keys = new Map(texts.map(parsePublicKey).map((key) => [keyIdOf(key), key]));
  }

  get size(): number {
    return this.#keys.size;
  }

  /** Why a signature does not count, after the word "it"; undefined if it does. */
  problemWith(index: SignedIndex, signature: IndexSignature | undefined): string | undefined {
    if (signature === undefined) return 'is not signed';
    const key = this.#keys.get(signature.key);
    if (key === undefined) return `is signed by key ${signature.key}, which is not one of "index.trusted_keys"`;
    const isRight = verify(null, Buffer.from(signedText(index)), key, Buffer.from(signature.value, 'base64'));
    return isRight ? undefined : `has a wrong signature of key ${signature.key}`;
  }
}

import { createHash } from 'node:crypto';
import { LazypullError } from '../errors.ts';
import type { Manifest, RegistryClient } from '../registry/client.ts';
import { formatReference, type Reference } from '../registry/reference.ts';
import type { Descriptor } from '../images/manifest.ts';
import type { Platform } from '../images/platforms.ts';
import type { RangedBlob } from './laziness.ts';

/** The address of a blob. */
export type BlobId = Pick<Descriptor, 'digest' | 'size'>;

/** The source of an image. Everything that it returns is verified against the requested digest. */
export interface ImageSource {
  /** For messages. */
  readonly name: string;
  /**
   * The manifest or index that the source's name stands for; if it stands for several, an index of them that
   * `platforms` choose from.
   */
  root(platforms: readonly Platform[], signal?: AbortSignal): Promise<Manifest>;
  /** The bytes of a manifest or an index that the root names. */
  manifest(descriptor: Descriptor, signal?: AbortSignal): Promise<Buffer>;
  /** Streams a blob. It is verified at its end: before that, its bytes are unverified. */
  blob(blob: BlobId, signal?: AbortSignal): AsyncIterable<Buffer>;
  /** A blob to read in parts, of which nothing is verified. */
  ranged(digest: string): RangedBlob;
}

/** An image in a registry: by the reference's digest, else its tag, else `latest`. */
export class RegistrySource implements ImageSource {
  readonly name: string;
  readonly reference: Reference;
  readonly #client: RegistryClient;

  constructor(client: RegistryClient, reference: Reference) {
    this.name = formatReference(reference);
    this.reference = reference;
    this.#client = client;
  }

  root(_platforms: readonly Platform[], signal?: AbortSignal): Promise<Manifest> {
    return this.#client.manifest(this.reference, undefined, signal);
  }

  async manifest({ digest, mediaType }: Descriptor, signal?: AbortSignal): Promise<Buffer> {
    const { host, repository } = this.reference;
    return (await this.#client.manifest({ host, repository, digest }, [mediaType], signal)).bytes;
  }

  ranged(digest: string): RangedBlob {
    return this.#client.blob(this.reference, digest);
  }

  blob({ digest, size }: BlobId, signal?: AbortSignal): AsyncIterable<Buffer> {
    return verified(this.#client.blob(this.reference, digest).range(0, size, signal), { digest, size }, this.name);
  }
}

/**
 * Passes a blob on. If it does not have its size and digest, it throws DataLoss at the end, before the last bytes count
 * as good.
 */
export async function* verified(
  blob: AsyncIterable<Buffer>,
  { digest, size }: BlobId,
  where: string,
): AsyncGenerator<Buffer> {
  const [algorithm = 'sha256'] = digest.split(':', 1);
  const hash = createHash(algorithm);
  let bytes = 0;
  for await (const data of blob) {
    hash.update(data);
    bytes += data.length;
    yield data;
  }
  if (bytes === size && `${algorithm}:${hash.digest('hex')}` === digest) return;
  throw new LazypullError(
    'DataLoss',
    `Cannot read the blob "${digest}" of "${where}": its content does not match its digest and its size of ${size} bytes`,
  );
}

/** The whole blob in memory. @throws ResourceExhausted if it is larger than `maxBytes`. */
export async function readBlob(
  source: ImageSource,
  blob: BlobId,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  if (blob.size > maxBytes) {
    throw new LazypullError(
      'ResourceExhausted',
      `Cannot read the blob "${blob.digest}" of "${source.name}": its ${blob.size} bytes are beyond the limit of ${maxBytes}`,
    );
  }
  const parts: Buffer[] = [];
  for await (const data of source.blob(blob, signal)) parts.push(data);
  return Buffer.concat(parts);
}

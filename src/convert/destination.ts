import type { Readable } from 'node:stream';
import { LazypullError } from '../errors.ts';
import type { RegistryClient } from '../registry/client.ts';
import { formatReference, type Reference } from '../registry/reference.ts';
import type { BlobId } from './source.ts';

/** The destination of an image: it takes blobs first, then manifests, the root last. */
export interface ImageDestination {
  /** For messages. */
  readonly name: string;
  hasBlob(digest: string, signal?: AbortSignal): Promise<boolean>;
  /** `open` makes a stream of the blob's bytes, once for each try. */
  putBlob(blob: BlobId, open: () => Readable, signal?: AbortSignal): Promise<void>;
  /** Adds a manifest that an index will name. */
  putManifest(mediaType: string, digest: string, bytes: Buffer, signal?: AbortSignal): Promise<void>;
  /** Adds the manifest or index that the destination's name stands for from now on. */
  putRoot(mediaType: string, digest: string, bytes: Buffer, signal?: AbortSignal): Promise<void>;
}

/** A tag in a registry, by default `latest`. */
export class RegistryDestination implements ImageDestination {
  readonly name: string;
  readonly #client: RegistryClient;
  readonly #reference: Reference;
  readonly #mountFrom: string | undefined;

  /** `mountFrom` is a repository of the same registry that may have some of the blobs already. */
  constructor(client: RegistryClient, reference: Reference, mountFrom: string | undefined) {
    if (reference.digest !== undefined) {
      throw new LazypullError(
        'InvalidArgument',
        `Cannot write to "${formatReference(reference)}": give a tag, because the conversion determines the digest`,
      );
    }
    this.name = formatReference(reference);
    this.#client = client;
    this.#reference = reference;
    this.#mountFrom = mountFrom;
  }

  hasBlob(digest: string, signal?: AbortSignal): Promise<boolean> {
    return this.#client.blobExists(this.#reference, digest, signal);
  }

  putBlob({ digest, size }: BlobId, open: () => Readable, signal?: AbortSignal): Promise<void> {
    return this.#client.pushBlob(this.#reference, { digest, size }, open, this.#mountFrom, signal);
  }

  async putManifest(mediaType: string, digest: string, bytes: Buffer, signal?: AbortSignal): Promise<void> {
    const { host, repository } = this.#reference;
    await this.#client.pushManifest({ host, repository, digest }, mediaType, bytes, signal);
  }

  async putRoot(mediaType: string, _digest: string, bytes: Buffer, signal?: AbortSignal): Promise<void> {
    await this.#client.pushManifest(this.#reference, mediaType, bytes, signal);
  }
}

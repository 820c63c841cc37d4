import type { Digest } from '../chunks/digest.ts';
import { LazypullError } from '../errors.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { RegistryClient } from '../registry/client.ts';
import { parseReference, type Reference } from '../registry/reference.ts';
import { type Descriptor, type ImageManifest, parseIndex } from './manifest.ts';

/**
 * What a registry has of one image, and of the repository that the image lies in. Making one asks for nothing. All of
 * it throws InvalidArgument if the reference is not one, and else what the registry client throws.
 */
export interface ImageAccess {
  /** As the client of the image writes it. */
  readonly reference: string;
  /** The manifest for this machine. It is asked for at each call. Throws as `resolveImage`. */
  manifest(signal?: AbortSignal): Promise<ImageManifest>;
  /** A blob of the repository; nothing is asked before its first read. Throws InvalidArgument if `digest` is none. */
  blob(digest: Digest): Blob;
  /** Another manifest of the repository, verified against its digest. */
  document(digest: Digest, mediaType: string, signal?: AbortSignal): Promise<Buffer>;
  /**
   * What is attached to the image, of this type and perhaps of others.
   *
   * @throws NotFound if the registry has no list of it, or the reference has no digest
   */
  referrers(artifactType: string, signal?: AbortSignal): Promise<readonly Descriptor[]>;
}

/** Gives access to the image that a client names. `labels` are those of the snapshot for which it is asked. */
export type OpenImageAccess = (reference: string, labels: Readonly<Record<string, string>>) => ImageAccess;

/** An image as a client of registries has it. */
export class RegistryImage implements ImageAccess {
  readonly reference: string;
  readonly #client: RegistryClient;
  readonly #kept: (blob: Blob) => Blob;

  /** @param kept stands for each blob, and may keep what comes of it */
  constructor(client: RegistryClient, reference: string, kept: (blob: Blob) => Blob = (blob) => blob) {
    this.reference = reference;
    this.#client = client;
    this.#kept = kept;
  }

  async manifest(signal?: AbortSignal): Promise<ImageManifest> {
    const { resolveImage } = await import('./resolve.ts'); // few layers need it, and none waits for it to be loaded
    return (await resolveImage(this.#client, this.#parsed(), undefined, signal)).manifest;
  }

  blob(digest: Digest): Blob {
    return this.#kept(this.#client.blob(this.#parsed(), digest));
  }

  async document(digest: Digest, mediaType: string, signal?: AbortSignal): Promise<Buffer> {
    const { host, repository } = this.#parsed();
    return (await this.#client.manifest({ host, repository, digest }, [mediaType], signal)).bytes;
  }

  async referrers(artifactType: string, signal?: AbortSignal): Promise<readonly Descriptor[]> {
    const { digest, ...reference } = this.#parsed();
    if (digest === undefined) throw new LazypullError('NotFound', `"${this.reference}" has no digest`);
    const pages = await this.#client.referrers({ ...reference, digest }, artifactType, signal);
    return pages.flatMap((page) => parseIndex(page).manifests);
  }

  #parsed(): Reference {
    return parseReference(this.reference);
  }
}

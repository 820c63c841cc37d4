import type { Readable } from 'node:stream';
import { sha256 } from '../chunks/digest.ts';
import { codeOf, LazypullError } from '../errors.ts';
import { ociManifest } from '../images/media-types.ts';
import type { RegistryClient } from '../registry/client.ts';
import { parseReference, type Reference } from '../registry/reference.ts';
import type { IndexSource, OfferedIndex } from './index-lookups.ts';
import {
  emptyConfig,
  encodeArtifact,
  type IndexArtifact,
  inlineTailOf,
  maxInlineTailBytes,
  parseArtifact,
  type Subject,
  tagOfLayer,
} from './artifact.ts';

/** Idle connections for questions, if the registry does not speak HTTP/2. */
const openConnections = 4;

/** A repository with indexes of layers, each under a tag that is made from the layer's digest. */
export class IndexRepository implements IndexSource {
  readonly kind = 'repository';
  /** `host/repository`. */
  readonly name: string;
  readonly #client: RegistryClient;
  readonly #reference: Reference;

  /**
   * @param name `host/repository`, as Docker writes it
   * @throws InvalidArgument if it is not a repository, or has a tag or a digest
   */
  constructor(client: RegistryClient, name: string) {
    const { host, repository } = parseRepository(name);
    this.#client = client;
    this.#reference = { host, repository };
    this.name = `${host}/${repository}`;
  }

  /**
   * The repository's index of a layer: one request.
   *
   * @throws NotFound if it has none; DataLoss if the manifest is not that of an index of this layer; else as the
   * registry client
   */
  async find(layer: string, signal?: AbortSignal): Promise<OfferedIndex> {
    const reference = { ...this.#reference, tag: tagOfLayer(layer) };
    const manifest = await this.#client.manifest(reference, [ociManifest], signal);
    const index = parseArtifact(manifest.bytes, layer);
    const blob = this.#client.blob(this.#reference, index.digest);
    return { index, blob, tail: inlineTailOf(manifest.bytes, index) };
  }

  /** Throws what says why a push would fail. It leaves nothing there. */
  tryPush(signal?: AbortSignal): Promise<void> {
    return this.#client.tryPush(this.#reference, signal);
  }

  /** Opens connections by which all layers of an image are asked for at once. */
  open(signal?: AbortSignal): Promise<void> {
    return this.#client.open(this.#reference, openConnections, signal);
  }

  /**
   * Pushes an index: its blobs first, then the manifest under its tag, in place of an existing one.
   *
   * @param content makes a stream of the index file, once for each try
   * @returns the digest of the manifest
   */
  push(index: IndexArtifact, content: () => Readable, signal?: AbortSignal): Promise<string> {
    return pushIndex(
      this.#client,
      { ...this.#reference, tag: tagOfLayer(index.layer) },
      index,
      content,
      undefined,
      signal,
    );
  }

  /** The repository's present index of a layer; undefined if there is none, or if it cannot be used. */
  async present(layer: string, signal?: AbortSignal): Promise<IndexArtifact | undefined> {
    try {
      return (await this.find(layer, signal)).index;
    } catch (error) {
      if (codeOf(error) === 'NotFound' || codeOf(error) === 'DataLoss') return undefined;
      throw error;
    }
  }
}

/** Pushes an index to any reference. `subject` is the image in the same repository that it is attached to. */
export async function pushIndex(
  client: RegistryClient,
  reference: Reference,
  index: IndexArtifact,
  content: () => Readable,
  subject: Subject | undefined,
  signal?: AbortSignal,
): Promise<string> {
  const config = { digest: emptyConfig.digest, size: emptyConfig.bytes.length };
  if (!(await client.blobExists(reference, index.digest, signal)))
    await client.pushBlob(reference, index, content, undefined, signal);
  if (!(await client.blobExists(reference, config.digest, signal))) {
    await client.pushBlob(reference, config, emptyConfig.bytes, undefined, signal);
  }
  const manifest = encodeArtifact(index, subject);
  if (subject !== undefined)
    return client.pushManifest({ ...reference, digest: sha256(manifest) }, ociManifest, manifest, signal);
  // Not for referrers of an image: a registry's list of referrers repeats annotations.
  if (index.tail.bytes <= maxInlineTailBytes) {
    const withTail = encodeArtifact(index, undefined, await lastOf(content(), index.tail.bytes));
    try {
      return await client.pushManifest(reference, ociManifest, withTail, signal);
    } catch (error) {
      if (!refusals.has(codeOf(error))) throw error;
    }
  }
  return client.pushManifest(reference, ociManifest, manifest, signal);
}

/** Error classes of a registry that refuses a manifest because it is too large. */
const refusals: ReadonlySet<string> = new Set(['FailedPrecondition', 'InvalidArgument', 'ResourceExhausted']);

/** The last bytes of a stream. */
async function lastOf(stream: Readable, bytes: number): Promise<Buffer> {
  let last = Buffer.alloc(0);
  for await (const piece of stream as AsyncIterable<Buffer>) last = Buffer.concat([last, piece]).subarray(-bytes);
  return last;
}

/** A repository without a tag or a digest. */
export function parseRepository(name: string): Reference {
  const reference = parseReference(name);
  if (reference.tag === undefined && reference.digest === undefined) return reference;
  throw new LazypullError(
    'InvalidArgument',
    `Cannot use "${name}" as a repository of layer indexes: it has a tag or a digest`,
  );
}

import { isSha256 } from '../chunks/digest.ts';
import { codeOf, LazypullError } from '../errors.ts';
import type { Readable } from 'node:stream';
import type { ImageAccess } from '../images/image-access.ts';
import { type Descriptor, encodeDescriptor, parseIndex } from '../images/manifest.ts';
import { ociIndex, ociManifest } from '../images/media-types.ts';
import type { RegistryClient } from '../registry/client.ts';
import { parseReference, type Reference } from '../registry/reference.ts';
import { inParallel } from '../util/in-parallel.ts';
import { layerIndexAnnotations } from '../label-names.ts';
import {
  emptyConfig,
  encodeArtifact,
  type IndexArtifact,
  indexArtifactType,
  layerOfArtifact,
  parseArtifact,
  type Subject,
} from './artifact.ts';
import { pushIndex } from './index-repository.ts';
import type { IndexSource, OfferedIndex } from './index-lookups.ts';

/** An image with a known digest, so that its referrers can be asked for. */
type PinnedReference = Reference & { readonly digest: string };

/** Indexes of one image: more than an image has layers. Of more, the last ones count. */
const maxListed = 1_024;

const documentsAtOnce = 8;

/** The indexes that are attached to one image, in its repository. The list of them is fetched once. */
export class IndexReferrers implements IndexSource {
  readonly kind = 'referrer';
  /** `host/repository` of the image. */
  readonly name: string;
  readonly #image: ImageAccess;
  #list: Promise<ReadonlyMap<string, string>> | undefined;

  /** The image is named by its digest. */
  constructor(image: ImageAccess, name: string) {
    this.#image = image;
    this.name = name;
  }

  async find(layer: string, signal: AbortSignal): Promise<OfferedIndex> {
    const digest = (await this.#listed(signal)).get(layer);
    if (digest === undefined) throw new LazypullError('NotFound', `No index of ${layer} is attached to the image`);
    const index = parseArtifact(await this.#image.document(digest, ociManifest, signal), layer);
    return { index, blob: this.#image.blob(index.digest) };
  }

  /** The list. A failure is not remembered. */
  #listed(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    if (this.#list !== undefined) return this.#list;
    const list = this.#fetchList(signal);
    list.catch((error: unknown) => {
      if (codeOf(error) !== 'NotFound' && this.#list === list) this.#list = undefined;
    });
    this.#list = list;
    return list;
  }

  /** Digests of manifests by layer; if there are several for one layer, the last one counts. */
  async #fetchList(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const listed = await this.#image.referrers(indexArtifactType, signal);
    // Some registries take the type of the configuration for that of the artifact.
    const isOwn = ({ annotations, rest }: Descriptor): boolean =>
      rest['artifactType'] === indexArtifactType ||
      (rest['artifactType'] === emptyConfig.mediaType && annotations[layerIndexAnnotations.layer] !== undefined);
    const own = listed.filter(isOwn).slice(-maxListed);
    const layers = await inParallel(own, documentsAtOnce, ({ digest, annotations }) =>
      // Some registries leave annotations out of their lists.
      Object.keys(annotations).length > 0
        ? Promise.resolve(annotations[layerIndexAnnotations.layer])
        : this.#image.document(digest, ociManifest, signal).then(layerOfArtifact),
    );
    const known = layers.map((layer, i) => [layer, own[i]!.digest] as const);
    return new Map(known.filter((entry): entry is [string, string] => entry[0] !== undefined && isSha256(entry[0])));
  }
}

/**
 * Attaches an index to an image in the image's repository. If the registry keeps no list of referrers, the tag that
 * replaces the list is written, as clients must do (distribution spec, "Referrers Tag Schema").
 */
export async function attachIndex(
  client: RegistryClient,
  { host, repository }: Reference,
  image: Subject,
  index: IndexArtifact,
  content: () => Readable,
  signal?: AbortSignal,
): Promise<void> {
  const digest = await pushIndex(client, { host, repository }, index, content, image, signal);
  const listed = await listOf(client, { host, repository, digest: image.digest }, signal);
  if (listed.some((entry) => entry.digest === digest)) return;
  const size = encodeArtifact(index, image).length;
  const annotations = { [layerIndexAnnotations.layer]: index.layer };
  const own = { mediaType: ociManifest, digest, size, annotations, rest: { artifactType: indexArtifactType } };
  const isOlder = (entry: Descriptor): boolean =>
    entry.rest['artifactType'] === indexArtifactType && entry.annotations[layerIndexAnnotations.layer] === index.layer;
  const manifests = [...listed.filter((entry) => !isOlder(entry)), own].map(encodeDescriptor);
  const list = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests }));
  await client.pushManifest({ host, repository, tag: image.digest.replace(':', '-') }, ociIndex, list, signal);
}

async function listOf(client: RegistryClient, image: PinnedReference, signal?: AbortSignal): Promise<Descriptor[]> {
  try {
    const pages = await client.referrers(image, indexArtifactType, signal);
    return pages.flatMap((page) => parseIndex(page).manifests);
  } catch (error) {
    if (codeOf(error) === 'NotFound') return [];
    throw error;
  }
}

/** A reference as clients write it, if it has a digest; undefined for any other text. */
export function pinnedReference(text: string): PinnedReference | undefined {
  try {
    const reference = parseReference(text);
    const { digest } = reference;
    return digest !== undefined && isSha256(digest) ? { ...reference, digest } : undefined;
  } catch {
    return undefined;
  }
}

import { LazypullError } from '../errors.ts';
import type { Manifest, RegistryClient } from '../registry/client.ts';
import { formatReference, type Reference } from '../registry/reference.ts';
import {
  type ImageManifest,
  isContainerImage,
  ofPlatforms,
  parseIndex,
  parseManifest,
  platformOf,
} from './manifest.ts';
import { isIndex, isManifest } from './media-types.ts';

/** An image of one platform. */
export interface ResolvedImage {
  readonly reference: Reference;
  /** Of the manifest, which was verified against it. */
  readonly digest: string;
  readonly mediaType: string;
  /** As the index says; undefined for an image that is in none. */
  readonly platform: string | undefined;
  readonly manifest: ImageManifest;
  /** The documents that were read, as they are: the index where there is one, and the manifest. */
  readonly documents: readonly Manifest[];
}

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

/** `os/architecture` of this machine as images name it. */
export const thisPlatform = `linux/${architectures[process.arch] ?? process.arch}`;

/**
 * Reads the manifest of an image, out of its index where it has one.
 *
 * @param platform `os/architecture[/variant]`
 * @throws NotFound where the image, or its platform, is not there; InvalidArgument where it is not a container image
 */
export async function resolveImage(
  client: RegistryClient,
  reference: Reference,
  platform: string = thisPlatform,
  signal?: AbortSignal,
): Promise<ResolvedImage> {
  const root = await client.manifest(reference, undefined, signal);
  if (!isIndex(root.mediaType)) return image(reference, [root], root, undefined);
  const chosen = ofPlatforms(parseIndex(root.bytes), [platform]).find(({ mediaType }) => isManifest(mediaType));
  if (chosen === undefined) {
    throw new LazypullError('NotFound', `"${formatReference(reference)}" has no manifest for ${platform} in its index`);
  }
  const { host, repository } = reference;
  const { digest, mediaType } = chosen;
  const manifest = await client.manifest({ host, repository, digest }, [mediaType], signal);
  return image(reference, [root, manifest], manifest, platformOf(chosen));
}

function image(
  reference: Reference,
  documents: readonly Manifest[],
  { digest, mediaType, bytes }: Manifest,
  platform: string | undefined,
): ResolvedImage {
  const manifest = isManifest(mediaType) ? parseManifest(bytes) : undefined;
  if (manifest === undefined || !isContainerImage(manifest)) {
    const type = manifest?.config.mediaType ?? mediaType;
    throw new LazypullError(
      'InvalidArgument',
      `"${formatReference(reference)}" is not a container image but "${type}"`,
    );
  }
  return { reference, digest, mediaType, platform, manifest, documents };
}

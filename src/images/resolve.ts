import { LazypullError } from '../errors.ts';
import type { Manifest, RegistryClient } from '../registry/client.ts';
import { formatReference, type Reference } from '../registry/reference.ts';
import { readConfig } from './config.ts';
import {
  type ImageManifest,
  isContainerImage,
  isOfPlatform,
  ofPlatforms,
  parseIndex,
  parseManifest,
  platformOf,
  platformOfConfig,
} from './manifest.ts';
import { isIndex, isManifest } from './media-types.ts';

/** An image of one platform. */
export interface ResolvedImage {
  readonly reference: Reference;
  /** Of the manifest, which was verified against it. */
  readonly digest: string;
  readonly mediaType: string;
  /** As the index says, or the configuration; undefined for an image that is in no index, unless a platform was asked for. */
  readonly platform: string | undefined;
  readonly manifest: ImageManifest;
  /** The image's configuration, where it was read to see its platform. */
  readonly configuration: Buffer | undefined;
  /** The documents that were read, as they are: the index where there is one, and the manifest. */
  readonly documents: readonly Manifest[];
}

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

/** `os/architecture` of this machine as images name it. */
export const thisPlatform = `linux/${architectures[process.arch] ?? process.arch}`;

/**
 * Reads the manifest of an image, out of its index where it has one.
 *
 * @param platform `os/architecture[/variant]`; undefined for that of this machine, where there is a choice
 * @throws NotFound where the image, or its platform, is not there; InvalidArgument where it is not a container image
 */
export async function resolveImage(
  client: RegistryClient,
  reference: Reference,
  platform?: string,
  signal?: AbortSignal,
): Promise<ResolvedImage> {
  const root = await client.manifest(reference, undefined, signal);
  if (!isIndex(root.mediaType)) {
    const only = image(reference, [root], root, undefined);
    return platform === undefined ? only : checkPlatform(client, only, platform, signal);
  }
  const asked = platform ?? thisPlatform;
  const chosen = ofPlatforms(parseIndex(root.bytes), [asked]).find(({ mediaType }) => isManifest(mediaType));
  if (chosen === undefined) {
    throw new LazypullError('NotFound', `"${formatReference(reference)}" has no manifest for ${asked} in its index`);
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
  return { reference, digest, mediaType, platform, manifest, configuration: undefined, documents };
}

/** An image that is in no index says in its configuration what it is for. */
async function checkPlatform(
  client: RegistryClient,
  image: ResolvedImage,
  asked: string,
  signal: AbortSignal | undefined,
): Promise<ResolvedImage> {
  const configuration = await readConfig(client, image.reference, image.manifest.config, signal);
  const platform = platformOfConfig(configuration);
  if (isOfPlatform(platform, asked)) return { ...image, platform, configuration };
  throw new LazypullError(
    'NotFound',
    `"${formatReference(image.reference)}" has no platform "${asked}": it is ${platform === '' ? 'of no platform' : `for ${platform}`}, and in no index; leave --platform out to have it as it is`,
  );
}

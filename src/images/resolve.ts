/**
 * Images: manifests, indexes, platforms, media types. This room reads documents from a registry, and no layers.
 *
 * Begin with `resolveImage`. `manifest.ts` has the shapes, `choose.ts` and `platforms.ts` pick one of several.
 */

import { LazypullError } from '../errors.ts';
import type { Manifest, RegistryClient } from '../registry/client.ts';
import { formatReference, type Reference } from '../registry/reference.ts';
import { chooseImage } from './choose.ts';
import { readConfig } from './config.ts';
import {
  type Descriptor,
  type ImageManifest,
  isContainerImage,
  parseIndex,
  parseManifest,
  platformOfConfig,
} from './manifest.ts';
import { isIndex, isManifest } from './media-types.ts';
import { type Platform, PlatformMatcher, platformText, thisPlatform } from './platforms.ts';

/** An image of one platform. */
export interface ResolvedImage {
  readonly reference: Reference;
  /** The digest of the manifest, which was verified against it. */
  readonly digest: string;
  readonly mediaType: string;
  /** From the index or the configuration; undefined if the image is in no index and no platform was asked for. */
  readonly platform: string | undefined;
  readonly manifest: ImageManifest;
  /** The image's configuration, if it was read to find its platform. */
  readonly configuration: Buffer | undefined;
  /** The documents as they were read: the indexes, the outermost first, and the manifest. */
  readonly documents: readonly Manifest[];
  /**
   * Whether containerd and BuildKit choose it too: they do not go on to another member of an index if the first is not
   * what it seems.
   */
  readonly isFirst: boolean;
  /** The same for containerd before 2.3, which ignores which features of the system an image needs. */
  readonly isFirstWithoutFeatures: boolean;
}

/**
 * Reads the manifest of an image, out of its index if it has one.
 *
 * @param platform undefined for that of this machine, if there is a choice
 * @throws NotFound if the image or its platform does not exist; InvalidArgument if it is not a container image
 */
export async function resolveImage(
  client: RegistryClient,
  reference: Reference,
  platform?: Platform,
  signal?: AbortSignal,
): Promise<ResolvedImage> {
  const root = await client.manifest(reference, undefined, signal);
  if (!isIndex(root.mediaType)) {
    const only = onlyImage(reference, root);
    return platform === undefined ? only : checkPlatform(client, only, platform, signal);
  }
  const { host, repository } = reference;
  const documents = {
    manifest: async ({ digest, mediaType }: Descriptor) =>
      (await client.manifest({ host, repository, digest }, [mediaType], signal)).bytes,
    config: (descriptor: Descriptor) => readConfig(client, reference, descriptor, signal),
  };
  const choice = await chooseImage(documents, parseIndex(root.bytes), platform ?? thisPlatform);
  const read = choice.path.map(({ descriptor: { mediaType, digest }, bytes }) => ({ mediaType, digest, bytes }));
  const { digest, mediaType } = read.at(-1)!;
  const { manifest, configuration, isFirst, isFirstWithoutFeatures } = choice;
  const chosen = platformText(choice.platform);
  return {
    reference,
    digest,
    mediaType,
    platform: chosen,
    manifest,
    configuration,
    documents: [root, ...read],
    isFirst,
    isFirstWithoutFeatures,
  };
}

function onlyImage(reference: Reference, root: Manifest): ResolvedImage {
  const { digest, mediaType, bytes } = root;
  const manifest = isManifest(mediaType) ? parseManifest(bytes) : undefined;
  if (manifest === undefined || !isContainerImage(manifest)) {
    const type = manifest?.config.mediaType ?? mediaType;
    throw new LazypullError(
      'InvalidArgument',
      `"${formatReference(reference)}" is not a container image but "${type}"`,
    );
  }
  const about = {
    reference,
    digest,
    mediaType,
    manifest,
    documents: [root],
    isFirst: true,
    isFirstWithoutFeatures: true,
  };
  return { ...about, platform: undefined, configuration: undefined };
}

/** The configuration of an image that is in no index names its platform. */
async function checkPlatform(
  client: RegistryClient,
  image: ResolvedImage,
  asked: Platform,
  signal: AbortSignal | undefined,
): Promise<ResolvedImage> {
  const configuration = await readConfig(client, image.reference, image.manifest.config, signal);
  const platform = platformOfConfig(configuration);
  if (new PlatformMatcher(asked).matches(platform))
    return { ...image, platform: platformText(platform), configuration };
  const what = platform.architecture === '' ? 'of no platform' : `for ${platformText(platform)}`;
  throw new LazypullError(
    'NotFound',
    `"${formatReference(image.reference)}" has no platform "${platformText(asked)}": it is a single image ${what}; leave --platform out to take it`,
  );
}

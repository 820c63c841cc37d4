import { codeOf, LazypullError } from '../errors.ts';
import {
  type Descriptor,
  type ImageIndex,
  type ImageManifest,
  isContainerImage,
  parseIndex,
  parseManifest,
  platformOf,
  platformOfConfig,
} from './manifest.ts';
import { isIndex, isManifest } from './media-types.ts';
import { isNoPlatform, type Platform, PlatformMatcher, platformText } from './platforms.ts';

/** Nesting of indexes. No tool writes more than one level. */
export const maxIndexDepth = 4;

/** How many documents are read to find one platform. */
const maxDocuments = 64;

/** The source of an image's documents, each verified against its descriptor's digest. */
export interface Documents {
  /** A manifest or an index. */
  manifest(descriptor: Descriptor): Promise<Buffer>;
  config(descriptor: Descriptor): Promise<Buffer>;
}

/** The image of one platform in an index. */
export interface Choice {
  /** From a member of the index down to the manifest, with the bytes of each: more than one if indexes are nested. */
  readonly path: readonly { readonly descriptor: Descriptor; readonly bytes: Buffer }[];
  readonly manifest: ImageManifest;
  /** From the index, else from the configuration. */
  readonly platform: Platform;
  /** If it was read to find its platform. */
  readonly configuration: Buffer | undefined;
  /**
   * Whether containerd and BuildKit would choose it: they look at only one member of an index, the one that matches
   * best.
   */
  readonly isFirst: boolean;
  /** The same for containerd before 2.3, which ignores which features of the system an image needs. */
  readonly isFirstWithoutFeatures: boolean;
}

/**
 * Chooses from an index as containerd does (core/images, Manifest): first the members that the platform can run, the
 * best match first, then the members without a platform, for which the image's configuration decides. Unlike containerd
 * it goes on to the next member if one is not a container image, or not for the platform.
 *
 * @throws NotFound that lists the available platforms; errors of reading
 */
export async function chooseImage(documents: Documents, index: ImageIndex, platform: Platform): Promise<Choice> {
  const chooser = new Chooser(documents, platform);
  const choice = await chooser.choose(index, 0);
  if (choice !== undefined) return choice;
  const there = [...chooser.platforms].join(', ') || 'none';
  throw new LazypullError('NotFound', `The image has no platform "${platformText(platform)}": it has ${there}`);
}

class Chooser {
  /** Platforms that were seen. */
  readonly platforms = new Set<string>();
  readonly #documents: Documents;
  readonly #matcher: PlatformMatcher;
  readonly #oldMatcher: PlatformMatcher;
  #read = 0;
  #isFirst = true;

  constructor(documents: Documents, platform: Platform) {
    this.#documents = documents;
    this.#matcher = new PlatformMatcher(platform);
    this.#oldMatcher = new PlatformMatcher(platform, 'ignored');
  }

  async choose(index: ImageIndex, depth: number): Promise<Choice | undefined> {
    const [oldFirst] = this.#candidates(index, this.#oldMatcher);
    for (const descriptor of this.#candidates(index, this.#matcher)) {
      const choice = await this.#enter(descriptor, depth);
      if (choice === undefined) {
        this.#isFirst = false;
        continue;
      }
      return { ...choice, isFirstWithoutFeatures: choice.isFirstWithoutFeatures && descriptor === oldFirst };
    }
    return undefined;
  }

  #candidates({ manifests }: ImageIndex, matcher: PlatformMatcher): Descriptor[] {
    const named: { descriptor: Descriptor; platform: Platform }[] = [];
    const unnamed: Descriptor[] = [];
    for (const descriptor of manifests) {
      const platform = platformOf(descriptor);
      if (platform === undefined) unnamed.push(descriptor);
      else if (this.#note(platform, matcher)) named.push({ descriptor, platform });
    }
    named.sort((a, b) => matcher.compare(a.platform, b.platform));
    return [...named.map(({ descriptor }) => descriptor), ...unnamed];
  }

  /** Whether a platform matches. */
  #note(platform: Platform, matcher: PlatformMatcher): boolean {
    if (platform.architecture !== '' && !isNoPlatform(platform)) this.platforms.add(platformText(platform));
    return matcher.matches(platform);
  }

  async #enter(descriptor: Descriptor, depth: number): Promise<Choice | undefined> {
    const { mediaType } = descriptor;
    if (!isIndex(mediaType) && !isManifest(mediaType)) return undefined;
    const bytes = await this.#optional(descriptor, () => this.#documents.manifest(descriptor));
    if (bytes === undefined) return undefined;
    if (isIndex(mediaType)) {
      if (depth >= maxIndexDepth) {
        throw new LazypullError(
          'InvalidArgument',
          `The image has indexes that are nested more than ${maxIndexDepth} deep`,
        );
      }
      const inner = await this.choose(parseIndex(bytes), depth + 1);
      return inner === undefined ? undefined : { ...inner, path: [{ descriptor, bytes }, ...inner.path] };
    }
    const manifest = parseManifest(bytes);
    if (!isContainerImage(manifest)) return undefined;
    const path = [{ descriptor, bytes }];
    const named = platformOf(descriptor);
    if (named !== undefined) {
      return { path, manifest, platform: named, configuration: undefined, ...this.#firsts() };
    }
    const configuration = await this.#optional(descriptor, () => this.#documents.config(manifest.config));
    if (configuration === undefined) return undefined;
    const platform = platformOfConfig(configuration);
    if (!this.#note(platform, this.#matcher)) return undefined;
    return { path, manifest, platform, configuration, ...this.#firsts() };
  }

  #firsts(): Pick<Choice, 'isFirst' | 'isFirstWithoutFeatures'> {
    return { isFirst: this.#isFirst, isFirstWithoutFeatures: this.#isFirst };
  }

  /** A document; undefined if it does not exist, and nothing says that it is for the platform. */
  async #optional(descriptor: Descriptor, read: () => Promise<Buffer>): Promise<Buffer | undefined> {
    if (++this.#read > maxDocuments) {
      throw new LazypullError('ResourceExhausted', `More than ${maxDocuments} manifests of the image name no platform`);
    }
    try {
      return await read();
    } catch (error) {
      if (codeOf(error) === 'NotFound' && platformOf(descriptor) === undefined) return undefined;
      throw error;
    }
  }
}

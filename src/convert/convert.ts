/**
 * Makes an image eStargz: from a registry, an archive or a directory, into a registry or a directory. It knows
 * manifests and tar, and no daemon.
 *
 * Begin with `convertImage`. `layer-converter.ts` does one layer, `estargz-writer.ts` writes it, `source.ts` and
 * `destination.ts` are the two ends.
 */

import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf, LazypullError, explain } from '../errors.ts';
import { chooseImage, maxIndexDepth } from '../images/choose.ts';
import {
  attestedAnnotation,
  type Descriptor,
  type ImageManifest,
  isAttestation,
  isContainerImage,
  parseConfig,
  parseIndex,
  parseManifest,
  platformOf,
  platformOfConfig,
} from '../images/manifest.ts';
import { isIndex, isLayer, isManifest, ociIndex, ociManifest } from '../images/media-types.ts';
import { type Platform, PlatformMatcher, platformText } from '../images/platforms.ts';
import type { ImageDestination } from './destination.ts';
import { defaultChunkBytes } from './estargz-writer.ts';
import { GzipPool } from './gzip-pool.ts';
import {
  blobsOf,
  type ConvertedLayer,
  replacedDescriptor,
  rewriteConfig,
  rewriteIndex,
  rewriteManifest,
  type WrittenMember,
} from './converted-image.ts';
import { isInconvertible, isRefused } from './inconvertible.ts';
import { type LazinessCheck, noCheck, type NotLazyLayer } from './laziness.ts';
import { LayerConverter, type LayerEvent } from './layer-converter.ts';
import { type ImageSource, readBlob } from './source.ts';
import { inParallel } from '../util/in-parallel.ts';

/**
 * gzip's levels on a Debian tree of 550 MB with two cores: 3: 135 MB/s, 214.7 MB; 4: 127 MB/s, 209.7 MB; 5: 100 MB/s,
 * 205.7 MB; 6: 70 MB/s, 204.8 MB. Level 9, which Go's writer uses, is several times slower than 6 and saves 0.3 %.
 */
export const defaultGzipLevel = 5;

export interface ConvertOptions {
  /** Level of gzip, 1 to 9. */
  level?: number | undefined;
  /** Chunk size for large files, in bytes. */
  chunkBytes?: number | undefined;
  /** For each platform, the image that matches it best; all images if there is none. */
  platforms?: readonly Platform[] | undefined;
  /** Converted layers are in a directory below it until they are pushed; by default below the system's. */
  temporaryDirectory?: string | undefined;
  /** It is called often. */
  onLayer?: ((event: LayerEvent) => void) | undefined;
  /** Is called for each member of an index that cannot be converted and is copied as it is, except for attestations. */
  onKept?: ((member: UnconvertedMember) => void) | undefined;
  /** Decides for the written layers whether they can be lazy; without it nothing is decided. */
  check?: LazinessCheck | undefined;
  /** Is called once for each layer that cannot be lazy; `source` is its digest before the conversion. */
  onNotLazy?: ((layer: NotLazyLayer & { source: string }) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** A member of an index that stays as it is, or is not in the new index. */
export interface UnconvertedMember {
  digest: string;
  /** The platform in the index; undefined if there is none. */
  platform: string | undefined;
  reason: string;
  /** The destination does not take it. */
  isLeftOut: boolean;
}

/** The written image. */
export interface ConvertedImage {
  mediaType: string;
  digest: string;
  size: number;
  /**
   * False if a converted layer cannot be lazy, or if no image can be lazy as a whole. Layers that had to stay as they
   * were count only for the latter.
   */
  isLazy: boolean;
}

/**
 * Copies an image, of all its platforms, with every layer as eStargz. Layers that are eStargz already are copied as
 * they are, and so are attestations. A blob that the destination has is not sent. The destination's name is set last:
 * it never stands for half an image. Leaves no temporary file.
 */
export async function convertImage(
  source: ImageSource,
  destination: ImageDestination,
  options: ConvertOptions = {},
): Promise<ConvertedImage> {
  const signal = options.signal ?? new AbortController().signal;
  const directory = await makeDirectory(options.temporaryDirectory ?? tmpdir());
  try {
    await using pool = new GzipPool(options.level ?? defaultGzipLevel);
    const layers = new LayerConverter({
      source,
      destination,
      pool,
      directory,
      chunkBytes: options.chunkBytes ?? defaultChunkBytes,
      onLayer: options.onLayer ?? (() => {}),
      check: options.check ?? noCheck,
    });
    return await new Conversion(source, destination, layers, options, signal).run(options.platforms ?? []);
  } catch (error) {
    if (!options.signal?.aborted) throw error;
    throw new LazypullError('Canceled', `Cannot convert "${source.name}": it was interrupted`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function makeDirectory(parent: string): Promise<string> {
  try {
    return await mkdtemp(join(parent, 'lazypull-convert-'));
  } catch (cause) {
    throw new LazypullError('FailedPrecondition', `Cannot make a temporary directory in "${parent}"`, { cause });
  }
}

/** Configs are usually small, but not those of images that were built in thousands of steps. */
const maxConfigBytes = 16 * 1024 * 1024;
/** While one layer waits for the network, another one is compressed. */
const layersAtOnce = 2;

class Conversion {
  readonly #source: ImageSource;
  readonly #destination: ImageDestination;
  readonly #layers: LayerConverter;
  readonly #options: ConvertOptions;
  readonly #notLazy = new Set<string>();
  #images = 0;
  #lazyImages = 0;
  #isConvertedLazy = true;
  readonly #signal: AbortSignal;

  constructor(
    source: ImageSource,
    destination: ImageDestination,
    layers: LayerConverter,
    options: ConvertOptions,
    signal: AbortSignal,
  ) {
    this.#source = source;
    this.#destination = destination;
    this.#layers = layers;
    this.#options = options;
    this.#signal = signal;
  }

  async run(platforms: readonly Platform[]): Promise<ConvertedImage> {
    const root = await this.#source.root(platforms, this.#signal);
    const converted = isIndex(root.mediaType)
      ? await this.#index(root.bytes, await this.#choose(root.bytes, platforms), 0)
      : await this.#onlyManifest(root.mediaType, root.bytes, platforms);
    const { mediaType, bytes } = converted;
    const digest = sha256(bytes);
    await this.#destination.putRoot(mediaType, digest, bytes, this.#signal);
    const isLazy = this.#isConvertedLazy && (this.#images === 0 || this.#lazyImages > 0);
    return { mediaType, digest, size: bytes.length, isLazy };
  }

  /** The images of these platforms and the indexes that contain them; undefined for everything. */
  async #choose(bytes: Buffer, platforms: readonly Platform[]): Promise<Chosen | undefined> {
    if (platforms.length === 0) return undefined;
    const documents = {
      manifest: (descriptor: Descriptor) => this.#source.manifest(descriptor, this.#signal),
      config: (descriptor: Descriptor) => readBlob(this.#source, descriptor, maxConfigBytes, this.#signal),
    };
    const chosen = { members: new Set<string>(), digests: new Set<string>() };
    for (const platform of platforms) {
      const { path } = await chooseImage(documents, parseIndex(bytes), platform);
      for (const { descriptor } of path) {
        chosen.members.add(memberKey(descriptor));
        chosen.digests.add(descriptor.digest);
      }
    }
    return chosen;
  }

  async #onlyManifest(mediaType: string, bytes: Buffer, platforms: readonly Platform[]): Promise<Document> {
    const manifest = isManifest(mediaType) ? parseManifest(bytes) : undefined;
    if (manifest === undefined || !isContainerImage(manifest)) {
      const type = manifest === undefined ? mediaType : typeOf(manifest);
      throw new LazypullError(
        'InvalidArgument',
        `Cannot convert "${this.#source.name}": it is not a container image but "${type}"`,
      );
    }
    return this.#image(manifest, platforms);
  }

  async #index(bytes: Buffer, chosen: Chosen | undefined, depth: number): Promise<Document> {
    if (depth > maxIndexDepth)
      throw new LazypullError(
        'InvalidArgument',
        `Cannot convert "${this.#source.name}": indexes are nested more than ${maxIndexDepth} deep`,
      );
    const index = parseIndex(bytes);
    const isChosen = (member: Descriptor) =>
      chosen === undefined ||
      chosen.members.has(memberKey(member)) ||
      chosen.digests.has(member.annotations[attestedAnnotation] ?? '');
    const members: WrittenMember[] = [];
    for (const old of index.manifests.filter(isChosen)) {
      const written = await this.#member(old, chosen, depth);
      if (written !== undefined) members.push({ old, written });
    }
    return { mediaType: ociIndex, bytes: rewriteIndex(index, members) };
  }

  /**
   * Writes a member of an index: an image is converted, anything else is copied as it is. Undefined if that is not
   * possible either.
   */
  async #member(descriptor: Descriptor, chosen: Chosen | undefined, depth: number): Promise<Descriptor | undefined> {
    const { mediaType } = descriptor;
    if (!isIndex(mediaType) && !isManifest(mediaType)) return this.#unknownMember(descriptor);
    const bytes = await this.#manifestOf(descriptor);
    if (bytes === undefined) return undefined;
    if (isIndex(mediaType)) return this.#put(descriptor, await this.#index(bytes, chosen, depth + 1));
    let reason: string | undefined;
    try {
      const manifest = parseManifest(bytes);
      if (isContainerImage(manifest)) return await this.#put(descriptor, await this.#image(manifest, []));
      if (!isAttestation(descriptor, manifest)) reason = `it is not a container image but "${typeOf(manifest)}"`;
    } catch (error) {
      if (!isInconvertible(error)) throw error;
      reason = explain(error);
      this.#images++;
    }
    await this.#copy(descriptor, bytes);
    if (reason !== undefined) this.#keep(descriptor, reason);
    return descriptor;
  }

  /** A manifest or an index. Undefined if the source does not have it: an index may name more than was copied. */
  async #manifestOf(descriptor: Descriptor): Promise<Buffer | undefined> {
    try {
      return await this.#source.manifest(descriptor, this.#signal);
    } catch (error) {
      if (codeOf(error) !== 'NotFound') throw error;
      this.#images++;
      this.#keep(descriptor, `it cannot be copied: ${explain(error)}`, true);
      return undefined;
    }
  }

  async #put(old: Descriptor, { mediaType, bytes }: Document): Promise<Descriptor> {
    const digest = sha256(bytes);
    await this.#destination.putManifest(mediaType, digest, bytes, this.#signal);
    return replacedDescriptor(old, mediaType, digest, bytes.length);
  }

  /** Members of an unknown type, and blobs, are copied if the destination takes them. */
  async #unknownMember(descriptor: Descriptor): Promise<Descriptor | undefined> {
    const { mediaType } = descriptor;
    this.#images++;
    try {
      const bytes = await this.#source.manifest(descriptor, this.#signal).catch((error: unknown) => {
        this.#signal.throwIfAborted();
        return error; // registries do not agree on the answer for a blob that is asked for as a manifest
      });
      if (bytes instanceof Buffer) await this.#copy(descriptor, bytes);
      else await this.#copyBlob(descriptor, bytes);
      this.#keep(descriptor, `it is of the type "${mediaType}"`);
      return descriptor;
    } catch (error) {
      if (!isRefused(error)) throw error;
      this.#keep(descriptor, `it is of the type "${mediaType}", and cannot be copied: ${explain(error)}`, true);
      return undefined;
    }
  }

  /** Throws `otherwise` if there is no such blob, unless that says the same. */
  async #copyBlob(blob: Descriptor, otherwise: unknown): Promise<void> {
    try {
      await this.#layers.copy(blob, this.#signal);
    } catch (error) {
      throw codeOf(error) === 'NotFound' ? otherwise : error;
    }
  }

  #keep(descriptor: Descriptor, reason: string, isLeftOut = false): void {
    const platform = platformOf(descriptor);
    this.#options.onKept?.({
      digest: descriptor.digest,
      platform: platform === undefined ? undefined : platformText(platform),
      reason,
      isLeftOut,
    });
  }

  /** Copies a manifest with everything that it names. */
  async #copy({ mediaType, digest }: Descriptor, bytes: Buffer): Promise<void> {
    for (const blob of blobsOf(bytes)) await this.#layers.copy(blob, this.#signal);
    await this.#destination.putManifest(mediaType, digest, bytes, this.#signal);
  }

  async #image(manifest: ImageManifest, platforms: readonly Platform[]): Promise<Document> {
    const configBytes = await readBlob(this.#source, manifest.config, maxConfigBytes, this.#signal);
    const config = parseConfig(configBytes, manifest.layers.length);
    const platform = platformOfConfig(configBytes);
    for (const asked of platforms) {
      if (new PlatformMatcher(asked).matches(platform)) continue;
      const [wanted, is] = [asked, platform].map(platformText);
      throw new LazypullError('NotFound', `The image has no platform "${wanted}": it is for ${is}`);
    }
    const layers = await inParallel(
      manifest.layers,
      layersAtOnce,
      (layer, i, signal) => this.#layers.convert(layer, config.diffIds[i] ?? '', signal),
      this.#signal,
    );
    await this.#checkLazy(manifest.layers, layers);
    const bytes = rewriteConfig(config, layers);
    const blob = { digest: sha256(bytes), size: bytes.length };
    await this.#layers.put(blob, bytes, this.#signal);
    return { mediaType: ociManifest, bytes: rewriteManifest(manifest, blob, layers) };
  }

  async #checkLazy(sources: readonly Descriptor[], layers: readonly ConvertedLayer[]): Promise<void> {
    const { check = noCheck, onNotLazy } = this.#options;
    const written = layers.map(({ descriptor }) => descriptor);
    const problems = await check.ofImage(written.map(({ digest }) => digest));
    this.#images++;
    if (problems.length === 0) this.#lazyImages++;
    for (const problem of problems) {
      const place = written.findIndex(({ digest }) => digest === problem.digest);
      if (isLayer(written[place]!.mediaType)) this.#isConvertedLazy = false;
      const key = `${problem.digest} ${problem.message}`;
      if (!this.#notLazy.has(key)) onNotLazy?.({ ...problem, source: sources[place]!.digest });
      this.#notLazy.add(key);
    }
  }
}

/** The chosen part of an index. */
interface Chosen {
  readonly members: ReadonlySet<string>;
  readonly digests: ReadonlySet<string>;
}

/** One manifest may be there for several platforms. */
function memberKey({ digest, rest }: Descriptor): string {
  return `${digest} ${JSON.stringify(rest['platform'])}`;
}

interface Document {
  mediaType: string;
  bytes: Buffer;
}

/** The kind of a manifest that is not of a container image, for people. */
function typeOf({ config, json }: ImageManifest): string {
  return typeof json['artifactType'] === 'string' ? json['artifactType'] : config.mediaType;
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LazypullError } from '../errors.ts';
import {
  type Descriptor,
  type ImageManifest,
  isContainerImage,
  isOfPlatform,
  ofPlatforms,
  parseConfig,
  parseIndex,
  parseManifest,
  platformName,
} from '../images/manifest.ts';
import { isForeignLayer, isIndex, isManifest, ociIndex, ociManifest } from '../images/media-types.ts';
import type { ImageDestination } from './destination.ts';
import { defaultChunkBytes } from './estargz-writer.ts';
import { GzipPool } from './gzip-pool.ts';
import { replacedDescriptor, rewriteConfig, rewriteIndex, rewriteManifest } from './image.ts';
import { LayerConverter, type LayerEvent } from './layer-converter.ts';
import { type ImageSource, readBlob } from './source.ts';

/**
 * gzip's levels on a Debian tree of 550 MB with two cores: 3: 135 MB/s, 214.7 MB; 4: 127 MB/s, 209.7 MB; 5: 100 MB/s, 205.7 MB; 6: 70 MB/s, 204.8 MB;
 * 9, as Go's writer has it, is several times slower than 6 for 0.3 %.
 */
export const defaultGzipLevel = 5;

export interface ConvertOptions {
  /** gzip's, 1 to 9. */
  level?: number | undefined;
  /** Where files are cut, in bytes. */
  chunkBytes?: number | undefined;
  /** `os/architecture[/variant]` each; all of the image's where there is none. */
  platforms?: readonly string[] | undefined;
  /** Converted layers lie in a directory below it until they are pushed; the system's by default. */
  temporaryDirectory?: string | undefined;
  /** Called often. */
  onLayer?: ((event: LayerEvent) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** The image that was written. */
export interface ConvertedImage {
  mediaType: string;
  digest: string;
  size: number;
}

/**
 * Copies an image, of all its platforms, with every layer as eStargz. A layer that says that it is eStargz already is copied as it is, and so are
 * attestations; a blob that the destination has is not sent. The destination's name is set last: it never stands for half an image.
 * Leaves no temporary file.
 */
export async function convertImage(
  source: ImageSource,
  destination: ImageDestination,
  options: ConvertOptions = {},
): Promise<ConvertedImage> {
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
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
    });
    return await new Conversion(source, destination, layers, failed, signal).run(options.platforms ?? []);
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

/** Configs are small; those of images that were built from thousands of steps are not. */
const maxConfigBytes = 16 * 1024 * 1024;
/** Indexes in an index. No tool writes more than one level. */
const maxDepth = 4;
/** While one layer waits for the network, another is compressed. */
const layersAtOnce = 2;

class Conversion {
  readonly #source: ImageSource;
  readonly #destination: ImageDestination;
  readonly #layers: LayerConverter;
  readonly #failed: AbortController;
  readonly #signal: AbortSignal;

  constructor(
    source: ImageSource,
    destination: ImageDestination,
    layers: LayerConverter,
    failed: AbortController,
    signal: AbortSignal,
  ) {
    this.#source = source;
    this.#destination = destination;
    this.#layers = layers;
    this.#failed = failed;
    this.#signal = signal;
  }

  async run(platforms: readonly string[]): Promise<ConvertedImage> {
    const root = await this.#source.root(this.#signal);
    const converted = isIndex(root.mediaType)
      ? await this.#index(root.bytes, platforms, 0)
      : await this.#onlyManifest(root.mediaType, root.bytes, platforms);
    const { mediaType, bytes } = converted;
    const digest = sha256(bytes);
    await this.#destination.putRoot(mediaType, digest, bytes, this.#signal);
    return { mediaType, digest, size: bytes.length };
  }

  async #onlyManifest(mediaType: string, bytes: Buffer, platforms: readonly string[]): Promise<Document> {
    const manifest = isManifest(mediaType) ? parseManifest(bytes) : undefined;
    if (manifest === undefined || !isContainerImage(manifest)) {
      const type = manifest?.config.mediaType ?? mediaType;
      throw new LazypullError(
        'InvalidArgument',
        `Cannot convert "${this.#source.name}": it is not a container image but "${type}"`,
      );
    }
    return this.#image(manifest, platforms);
  }

  async #index(bytes: Buffer, platforms: readonly string[], depth: number): Promise<Document> {
    if (depth > maxDepth)
      throw new LazypullError(
        'InvalidArgument',
        `Cannot convert "${this.#source.name}": indexes are nested more than ${maxDepth} deep`,
      );
    const index = parseIndex(bytes);
    const manifests = platforms.length === 0 ? index.manifests : ofPlatforms(index, platforms);
    const converted = new Map<string, Descriptor>();
    for (const descriptor of manifests) {
      const result = await this.#member(descriptor, depth);
      const digest = sha256(result.bytes);
      await this.#destination.putManifest(result.mediaType, digest, result.bytes, this.#signal);
      if (digest !== descriptor.digest) {
        converted.set(descriptor.digest, replacedDescriptor(descriptor, result.mediaType, digest, result.bytes.length));
      }
    }
    return { mediaType: ociIndex, bytes: rewriteIndex(index, manifests, converted) };
  }

  /** A manifest or index of an index: an image is converted, anything else is copied as it is. */
  async #member(descriptor: Descriptor, depth: number): Promise<Document> {
    const bytes = await this.#source.manifest(descriptor, this.#signal);
    if (isIndex(descriptor.mediaType)) return this.#index(bytes, [], depth + 1);
    const manifest = parseManifest(bytes);
    if (isManifest(descriptor.mediaType) && isContainerImage(manifest)) return this.#image(manifest, []);
    for (const blob of [manifest.config, ...manifest.layers]) {
      if (!isForeignLayer(blob.mediaType)) await this.#layers.copy(blob, this.#signal);
    }
    return { mediaType: descriptor.mediaType, bytes };
  }

  async #image(manifest: ImageManifest, platforms: readonly string[]): Promise<Document> {
    const config = parseConfig(
      await readBlob(this.#source, manifest.config, maxConfigBytes, this.#signal),
      manifest.layers.length,
    );
    const platform = platformName(config.json);
    for (const asked of platforms) {
      if (!isOfPlatform(platform, asked))
        throw new LazypullError('NotFound', `The image has no platform "${asked}": it is for ${platform}`);
    }
    const layers = await this.#inParallel(manifest.layers, (layer, i) =>
      this.#layers.convert(layer, config.diffIds[i] ?? '', this.#signal),
    );
    const bytes = rewriteConfig(config, layers);
    const blob = { digest: sha256(bytes), size: bytes.length };
    await this.#layers.put(blob, bytes, this.#signal);
    return { mediaType: ociManifest, bytes: rewriteManifest(manifest, blob, layers) };
  }

  /** Runs `work` on each item, `layersAtOnce` at a time. After a failure the others are stopped and waited for. */
  async #inParallel<T, R>(items: readonly T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
    const results: R[] = [];
    const queue = items.entries();
    const runner = async () => {
      for (const [index, item] of queue) results[index] = await work(item, index);
    };
    const runners = Array.from({ length: layersAtOnce }, runner);
    try {
      await Promise.all(runners);
    } catch (error) {
      this.#failed.abort(error);
      await Promise.allSettled(runners);
      throw error;
    }
    return results;
  }
}

interface Document {
  mediaType: string;
  bytes: Buffer;
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

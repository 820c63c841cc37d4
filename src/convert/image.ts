import { LazypullError } from '../errors.ts';
import { isDigest } from '../registry/reference.ts';
import type { EstargzResult } from './estargz-writer.ts';
import {
  isConfig,
  isForeignLayer,
  isGzipLayer,
  isLayer,
  ociConfig,
  ociIndex,
  ociLayerGzip,
  ociManifest,
} from './media-types.ts';

/** The annotation that makes a layer lazy: the digest of its TOC's JSON. */
export const tocDigestAnnotation = 'containerd.io/snapshot/stargz/toc.digest';
/** The annotation by which Podman knows how many bytes the layer inflates to. */
export const uncompressedSizeAnnotation = 'io.containers.estargz.uncompressed-size';

/** Bounds of what one document may name. Docker allows 127 layers; an index has a few dozen platforms. */
const maxLayers = 4096;
const maxManifests = 4096;
/** Sizes are safe integers, and no layer is near this: 1 PiB. */
const maxBlobBytes = 2 ** 50;

type Json = Record<string, unknown>;

/** What a manifest or index says of a blob (OCI image-spec, descriptor.md). Fields that are not known here are kept in `rest`. */
export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations: Record<string, string>;
  rest: Json;
}

/** A manifest, an index or a config: its JSON with every field, also those that are not known here. */
export interface ImageManifest {
  config: Descriptor;
  layers: Descriptor[];
  json: Json;
}
export interface ImageIndex {
  manifests: Descriptor[];
  json: Json;
}
export interface ImageConfig {
  diffIds: string[];
  json: Json;
}

/** A layer of the converted image. */
export interface ConvertedLayer {
  descriptor: Descriptor;
  diffId: string;
}

export function parseManifest(bytes: Buffer): ImageManifest {
  const json = parseObject(bytes, 'manifest');
  const layers = json['layers'];
  if (!Array.isArray(layers) || layers.length > maxLayers) {
    throw invalid(
      'manifest',
      json['schemaVersion'] === 1 ? schema1 : `it does not have a list of up to ${maxLayers} layers`,
    );
  }
  return {
    json,
    config: parseDescriptor(json['config'], 'manifest'),
    layers: layers.map((layer) => parseDescriptor(layer, 'manifest')),
  };
}

export function parseIndex(bytes: Buffer): ImageIndex {
  const json = parseObject(bytes, 'index');
  const manifests = json['manifests'];
  if (!Array.isArray(manifests) || manifests.length > maxManifests) {
    throw invalid('index', `it does not have a list of up to ${maxManifests} manifests`);
  }
  return { json, manifests: manifests.map((manifest) => parseDescriptor(manifest, 'index')) };
}

/** @throws InvalidArgument where there is not one diff ID for each of `layers` layers. */
export function parseConfig(bytes: Buffer, layers: number): ImageConfig {
  const json = parseObject(bytes, 'config');
  const rootfs = json['rootfs'];
  const diffIds = isObject(rootfs) ? rootfs['diff_ids'] : undefined;
  if (!Array.isArray(diffIds) || !diffIds.every((id) => typeof id === 'string' && isDigest(id))) {
    throw invalid('config', 'it does not have a list of diff IDs');
  }
  if (diffIds.length !== layers) throw invalid('config', `it has ${diffIds.length} diff IDs for ${layers} layers`);
  return { json, diffIds: diffIds as string[] };
}

/** Whether a manifest is that of a container image: not of an attestation, a signature, a chart or another artifact. */
export function isContainerImage(manifest: ImageManifest): boolean {
  return isConfig(manifest.config.mediaType) && manifest.layers.every((layer) => !isInToto(layer.mediaType));
}

function isInToto(mediaType: string): boolean {
  return mediaType.startsWith('application/vnd.in-toto');
}

/** What is to be done with a layer: convert it, copy it as it is (it is eStargz already), or only keep its descriptor (no registry has it). */
export type LayerPlan = 'convert' | 'copy' | 'keep';

/** @throws Unimplemented for layers that are not tar archives, such as encrypted ones. */
export function planLayer({ mediaType, annotations }: Descriptor): LayerPlan {
  if (isForeignLayer(mediaType)) return 'keep';
  if (!isLayer(mediaType)) {
    throw new LazypullError(
      'Unimplemented',
      `Cannot convert a layer of the media type "${mediaType}": only plain, gzip and zstd tar layers are supported`,
    );
  }
  return isGzipLayer(mediaType) && isDigest(annotations[tocDigestAnnotation] ?? '') ? 'copy' : 'convert';
}

/** The descriptor of a layer that has been written as eStargz. Annotations of the source stay, but for those of a lazy format. */
export function estargzLayer(source: Descriptor, result: EstargzResult): ConvertedLayer {
  const kept = Object.entries(source.annotations).filter(
    ([key]) => !/^io\.(github\.)?containers\.|^containerd\.io\/snapshot\/stargz\//.test(key),
  );
  const annotations = {
    ...Object.fromEntries(kept),
    [tocDigestAnnotation]: result.tocDigest,
    [uncompressedSizeAnnotation]: String(result.uncompressedSize),
  };
  const descriptor = { mediaType: ociLayerGzip, digest: result.digest, size: result.size, annotations, rest: {} };
  return { descriptor, diffId: result.diffId };
}

/** The descriptor of a layer that is eStargz already, with OCI's media type. */
export function copiedLayer(source: Descriptor): Descriptor {
  return { ...source, mediaType: ociLayerGzip };
}

/** The config with the diff IDs of the converted layers. All else, history too, stays. */
export function rewriteConfig(config: ImageConfig, layers: readonly ConvertedLayer[]): Buffer {
  const rootfs = config.json['rootfs'] as Json;
  return encode({ ...config.json, rootfs: { ...rootfs, diff_ids: layers.map((layer) => layer.diffId) } });
}

/** The manifest, as one of OCI, with the converted config and layers. */
export function rewriteManifest(
  manifest: ImageManifest,
  config: { digest: string; size: number },
  layers: readonly ConvertedLayer[],
): Buffer {
  return encode({
    ...manifest.json,
    schemaVersion: 2,
    mediaType: ociManifest,
    config: encodeDescriptor({
      ...manifest.config,
      ...config,
      mediaType: ociConfig,
      rest: withoutData(manifest.config.rest),
    }),
    layers: layers.map((layer) => encodeDescriptor(layer.descriptor)),
  });
}

/** Docker's annotation by which an index ties an attestation to the image that it is about. */
const attestedAnnotation = 'vnd.docker.reference.digest';

/** The index, as one of OCI, with the manifests that `converted` gives for the old digests; attestations follow the image that they are tied to. */
export function rewriteIndex(
  index: ImageIndex,
  manifests: readonly Descriptor[],
  converted: ReadonlyMap<string, Descriptor>,
): Buffer {
  const rewritten = manifests.map((manifest) => {
    const replaced = converted.get(manifest.digest) ?? manifest;
    const attested = converted.get(replaced.annotations[attestedAnnotation] ?? '');
    if (attested === undefined) return replaced;
    return { ...replaced, annotations: { ...replaced.annotations, [attestedAnnotation]: attested.digest } };
  });
  return encode({ ...index.json, schemaVersion: 2, mediaType: ociIndex, manifests: rewritten.map(encodeDescriptor) });
}

/** The descriptor of a rewritten manifest: platform and annotations of the old one, and what is new. */
export function replacedDescriptor(old: Descriptor, mediaType: string, digest: string, size: number): Descriptor {
  return { ...old, mediaType, digest, size, rest: withoutData(old.rest) };
}

/** The platform of a manifest in an index as `os/architecture[/variant]`, as Docker writes it; undefined where there is none. */
export function platformOf({ rest }: Descriptor): string | undefined {
  return isObject(rest['platform']) ? platformName(rest['platform']) : undefined;
}

/** The same of an object with the fields of a platform: that of a descriptor, or an image's config. */
export function platformName(platform: Json): string {
  return [platform['os'], platform['architecture'], platform['variant']]
    .filter((part) => typeof part === 'string' && part !== '')
    .join('/');
}

/**
 * The manifests of an index that are one of `platforms`, and the attestations that are tied to them. A platform without a variant takes all variants.
 * @throws NotFound where a platform has none.
 */
export function ofPlatforms(index: ImageIndex, platforms: readonly string[]): Descriptor[] {
  const chosen = new Set<string>();
  for (const platform of platforms) {
    const matching = index.manifests.filter((manifest) => isOfPlatform(platformOf(manifest), platform));
    if (matching.length === 0) {
      const there = index.manifests.map(platformOf).filter((name) => name !== undefined && name !== 'unknown/unknown');
      throw new LazypullError(
        'NotFound',
        `The image has no platform "${platform}": it has ${there.join(', ') || 'none'}`,
      );
    }
    for (const { digest } of matching) chosen.add(digest);
  }
  return index.manifests.filter(
    ({ digest, annotations }) => chosen.has(digest) || chosen.has(annotations[attestedAnnotation] ?? ''),
  );
}

/** Whether a platform is the one that is asked for. One without a variant takes all variants. */
export function isOfPlatform(name: string | undefined, asked: string): boolean {
  return `${name}/`.startsWith(`${asked}/`);
}

export function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw invalid(where, 'a descriptor is not an object');
  const { mediaType, digest, size, annotations = {}, ...rest } = value;
  if (typeof mediaType !== 'string') throw invalid(where, 'a descriptor has no media type');
  if (typeof digest !== 'string' || !isDigest(digest)) throw invalid(where, 'a descriptor has no valid digest');
  if (!Number.isInteger(size) || (size as number) < 0 || (size as number) > maxBlobBytes) {
    throw invalid(where, `a descriptor has a size out of range: ${String(size)}`);
  }
  if (!isStrings(annotations ?? {})) throw invalid(where, 'annotations are not strings');
  return { mediaType, digest, size: size as number, annotations: (annotations ?? {}) as Record<string, string>, rest };
}

export function encodeDescriptor({ mediaType, digest, size, annotations, rest }: Descriptor): Json {
  return { mediaType, digest, size, ...(Object.keys(annotations).length > 0 ? { annotations } : {}), ...rest };
}

/** Embedded content (`data`) is that of the old blob. */
function withoutData(rest: Json): Json {
  return Object.fromEntries(Object.entries(rest).filter(([key]) => key !== 'data'));
}

const schema1 =
  'it is of schema 1, which registries and builders have dropped; convert it first, for example with skopeo copy --format oci';

function parseObject(bytes: Buffer, what: string): Json {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new LazypullError('InvalidArgument', `Cannot read the image ${what}: it is not JSON`, { cause });
  }
  if (!isObject(json)) throw invalid(what, 'it is not a JSON object');
  return json;
}

function encode(json: Json): Buffer {
  return Buffer.from(JSON.stringify(json, null, 2));
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isStrings(value: unknown): boolean {
  return isObject(value) && Object.values(value).every((item) => typeof item === 'string');
}

function invalid(what: string, why: string): LazypullError {
  return new LazypullError('InvalidArgument', `Cannot convert the image: its ${what} is not valid: ${why}`);
}

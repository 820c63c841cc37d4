import { LazypullError } from '../errors.ts';
import { isDigest } from '../registry/reference.ts';
import { isConfig } from './media-types.ts';

/** The annotation that makes a layer lazy: the digest of its TOC's JSON. */
export const tocDigestAnnotation = 'containerd.io/snapshot/stargz/toc.digest';

/** Bounds of what one document may name. Docker allows 127 layers; an index has a few dozen platforms. */
const maxLayers = 4096;
const maxManifests = 4096;
/** Sizes are safe integers, and no layer is near this: 1 PiB. */
const maxBlobBytes = 2 ** 50;

export type Json = Record<string, unknown>;

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

/** Docker's annotation by which an index ties an attestation to the image that it is about. */
export const attestedAnnotation = 'vnd.docker.reference.digest';

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

/** The platform that an image's config is for, as `platformOf`; '' where it names none. */
export function platformOfConfig(bytes: Buffer): string {
  return platformName(parseObject(bytes, 'config'));
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

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isStrings(value: unknown): boolean {
  return isObject(value) && Object.values(value).every((item) => typeof item === 'string');
}

function invalid(what: string, why: string): LazypullError {
  return new LazypullError('InvalidArgument', `Cannot use the image: its ${what} is not valid: ${why}`);
}

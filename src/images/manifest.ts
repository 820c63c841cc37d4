import { isDigest } from '../registry/reference.ts';
import { asGoStruct, goList, goStrings, invalidDocument, isObject, type Json, parseGoObject } from './go-json.ts';
import { isConfig, isIndex, isManifest } from './media-types.ts';
import { type Platform, platformFields, platformOfJson } from './platforms.ts';

/** How much one document may name. Docker allows 127 layers; an index has a few dozen platforms. */
const maxLayers = 4096;
const maxManifests = 4096;
/** Sizes are safe integers, and no layer comes near this: 1 PiB. */
const maxBlobBytes = 2 ** 50;

/**
 * The description of a blob in a manifest or index (OCI image-spec, descriptor.md). Unknown fields are kept in `rest`.
 */
export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations: Record<string, string>;
  rest: Json;
}

/** A manifest, an index or a config: its JSON with every field, even unknown ones. */
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

/**
 * The fields of the documents that are used here, as Go's structs name them (opencontainers/image-spec, specs-go/v1).
 */
const documentFields = ['mediaType', 'schemaVersion', 'config', 'layers', 'manifests', 'annotations', 'fsLayers'];
const configFields = ['rootfs', 'history', 'config', ...platformFields];
const descriptorFields = ['mediaType', 'digest', 'size', 'urls', 'annotations', 'data', 'platform', 'artifactType'];

/** @throws InvalidArgument if it is not a manifest, or could also be taken for an index */
export function parseManifest(bytes: Buffer): ImageManifest {
  const json = parseGoObject(bytes, documentFields, 'manifest');
  checkKind(json, 'manifest');
  const layers = goList(json['layers'], maxLayers);
  if (layers === undefined) throw invalidDocument('manifest', `it does not have a list of up to ${maxLayers} layers`);
  return {
    json,
    config: parseDescriptor(json['config'], 'manifest'),
    layers: layers.map((layer) => parseDescriptor(layer, 'manifest')),
  };
}

/** @throws InvalidArgument if it is not an index, or could also be taken for a manifest */
export function parseIndex(bytes: Buffer): ImageIndex {
  const json = parseGoObject(bytes, documentFields, 'index');
  checkKind(json, 'index');
  const manifests = goList(json['manifests'], maxManifests);
  if (manifests === undefined) {
    throw invalidDocument('index', `it does not have a list of up to ${maxManifests} manifests`);
  }
  return { json, manifests: manifests.map((manifest) => parseDescriptor(manifest, 'index')) };
}

/**
 * A document that is both a manifest and an index is refused, as in containerd: programs that read it as the one or the
 * other would see different images.
 */
function checkKind(json: Json, kind: 'manifest' | 'index'): void {
  const { mediaType } = json;
  if (json['fsLayers'] !== undefined || (kind === 'manifest' && json['schemaVersion'] === 1)) {
    throw invalidDocument(kind, schema1);
  }
  const isOther =
    kind === 'manifest'
      ? json['manifests'] !== undefined || (typeof mediaType === 'string' && isIndex(mediaType))
      : json['config'] !== undefined ||
        json['layers'] !== undefined ||
        (typeof mediaType === 'string' && isManifest(mediaType));
  if (isOther) throw invalidDocument(kind, `it is ${kind === 'index' ? 'a manifest' : 'an index'} too`);
}

/** @throws InvalidArgument if there is not one diff ID for each of `layers` layers. */
export function parseConfig(bytes: Buffer, layers: number): ImageConfig {
  const json = parseGoObject(bytes, configFields, 'config');
  const rootfs = json['rootfs'] ?? {};
  if (!isObject(rootfs)) throw invalidDocument('config', 'it does not have a list of diff IDs');
  const own = asGoStruct(rootfs, ['type', 'diff_ids'], 'config');
  const diffIds = goList(own['diff_ids'], maxLayers);
  if (diffIds === undefined || !diffIds.every((id) => typeof id === 'string' && isDigest(id))) {
    throw invalidDocument('config', 'it does not have a list of diff IDs');
  }
  if (diffIds.length !== layers) {
    throw invalidDocument('config', `it has ${diffIds.length} diff IDs for ${layers} layers`);
  }
  return { json: { ...json, rootfs: { type: 'layers', ...own } }, diffIds: diffIds as string[] };
}

/**
 * Whether a manifest belongs to a container image, and not to an attestation, a signature, a chart or another artifact.
 */
export function isContainerImage(manifest: ImageManifest): boolean {
  return isConfig(manifest.config.mediaType) && manifest.layers.every((layer) => !isInToto(layer.mediaType));
}

function isInToto(mediaType: string): boolean {
  return mediaType.startsWith('application/vnd.in-toto');
}

/** Docker's annotation by which an index ties an attestation to its image. */
export const attestedAnnotation = 'vnd.docker.reference.digest';

/** Whether a manifest in an index is BuildKit's attestation of an image beside it. */
export function isAttestation({ annotations }: Descriptor, { layers }: ImageManifest): boolean {
  return annotations[attestedAnnotation] !== undefined || layers.some((layer) => isInToto(layer.mediaType));
}

/** The platform of a manifest in an index; undefined if there is none. */
export function platformOf({ rest }: Descriptor): Platform | undefined {
  return isObject(rest['platform']) ? platformOfJson(rest['platform']) : undefined;
}

/** The platform that an image's config is for. @throws InvalidArgument */
export function platformOfConfig(bytes: Buffer): Platform {
  const platform = platformOfJson(parseGoObject(bytes, configFields, 'config'));
  if (platform === undefined) throw invalidDocument('config', 'its platform has fields that are not text');
  return platform;
}

export function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw invalidDocument(where, 'a descriptor is not an object');
  const { mediaType = '', digest, size, annotations: given, ...rest } = asGoStruct(value, descriptorFields, where);
  if (typeof mediaType !== 'string') throw invalidDocument(where, 'the media type of a descriptor is not a string');
  if (typeof digest !== 'string' || !isDigest(digest)) throw invalidDocument(where, 'a descriptor has no valid digest');
  if (!Number.isInteger(size) || (size as number) < 0 || (size as number) > maxBlobBytes) {
    throw invalidDocument(where, `a descriptor has a size out of range: ${String(size)}`);
  }
  const annotations = goStrings(given);
  if (annotations === undefined) throw invalidDocument(where, 'annotations are not strings');
  if (rest['platform'] !== undefined) {
    const platform = isObject(rest['platform']) ? asGoStruct(rest['platform'], platformFields, where) : undefined;
    if (platform === undefined || platformOfJson(platform) === undefined) {
      throw invalidDocument(where, 'the platform of a descriptor is not valid');
    }
    rest['platform'] = platform;
  }
  return { mediaType, digest, size: size as number, annotations, rest };
}

export function encodeDescriptor({ mediaType, digest, size, annotations, rest }: Descriptor): Json {
  return { mediaType, digest, size, ...(Object.keys(annotations).length > 0 ? { annotations } : {}), ...rest };
}

const schema1 =
  'it is of schema 1, which registries and builders have dropped; convert it first, for example with skopeo copy --format oci';

import { isSha256, sha256 } from '../chunks/digest.ts';
import { LazypullError } from '../errors.ts';
import { parseManifest, type Descriptor } from '../images/manifest.ts';
import { ociManifest } from '../images/media-types.ts';
import { layerIndexAnnotations } from '../label-names.ts';
import type { IndexSignature } from './index-origin.ts';
import type { SignedIndex } from './signature.ts';

/** The identity of an index in a registry: the OCI artifact type, and the media type of its only blob. */
export const indexArtifactType = 'application/vnd.lazypull.layer-index.v1';

/** Maximum size of an index file: 1.5 % of the largest layers that registries take, with a margin. */
export const maxIndexBytes = 4 * 2 ** 30;

/** Maximum size of its tail: far more than a million files and chunks need. */
export const maxIndexTailBytes = 256 << 20;

/**
 * A tail up to this size is in the manifest too: then no request is needed for it. Most registries take manifests of 4
 * MiB.
 */
export const maxInlineTailBytes = 1 << 20;

/** The blob `{}`, which replaces a configuration (OCI image-spec, manifest.md, "Guidelines for Artifact Usage"). */
export const emptyConfig = {
  mediaType: 'application/vnd.oci.empty.v1+json',
  bytes: Buffer.from('{}'),
  digest: 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
} as const;

/** The description of an index in its manifest. */
export interface IndexArtifact extends SignedIndex {
  readonly signature?: IndexSignature | undefined;
}

/** An image that an index is attached to. */
export type Subject = Pick<Descriptor, 'mediaType' | 'digest' | 'size'>;

/** The tag of a layer's index in a repository of indexes. */
export function tagOfLayer(layer: string): string {
  return layer.replace(':', '-');
}

/**
 * The manifest of an index (OCI image-spec 1.1); the same bytes for the same index.
 *
 * @param subject the image that it is attached to
 * @param inlineTail the tail, if it goes into the manifest
 */
export function encodeArtifact(artifact: IndexArtifact, subject?: Subject, inlineTail?: Buffer): Buffer {
  const { layer, digest, size, tail, signature } = artifact;
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      artifactType: indexArtifactType,
      config: { mediaType: emptyConfig.mediaType, digest: emptyConfig.digest, size: emptyConfig.bytes.length },
      layers: [{ mediaType: indexArtifactType, digest, size }],
      ...(subject === undefined ? {} : { subject }),
      annotations: {
        [layerIndexAnnotations.layer]: layer,
        [layerIndexAnnotations.tailBytes]: String(tail.bytes),
        [layerIndexAnnotations.tailDigest]: tail.digest,
        ...(inlineTail === undefined ? {} : { [layerIndexAnnotations.tail]: inlineTail.toString('base64') }),
        ...(signature === undefined
          ? {}
          : { [layerIndexAnnotations.signature]: `${signature.key} ${signature.value}` }),
      },
    }),
  );
}

/**
 * Reads the manifest of an index of `layer`.
 *
 * @throws DataLoss that says what is wrong: it is another artifact, of another layer, or has impossible numbers
 */
export function parseArtifact(bytes: Buffer, layer: string): IndexArtifact {
  const { json, layers } = parsed(bytes);
  if (json['artifactType'] !== indexArtifactType) throw wrong(`its artifact type is not "${indexArtifactType}"`);
  const [blob] = layers;
  if (blob === undefined || layers.length !== 1) throw wrong(`it has ${layers.length} blobs and not one`);
  const given = (json['annotations'] ?? {}) as Readonly<Record<string, unknown>>;
  if (given[layerIndexAnnotations.layer] !== layer) throw wrong(`it is of another layer than "${layer}"`);
  const { digest, size } = blob;
  if (!isSha256(digest) || size < 1 || size > maxIndexBytes) throw wrong('its blob cannot be an index');
  const tailBytes = Number(given[layerIndexAnnotations.tailBytes]);
  const tailDigest = given[layerIndexAnnotations.tailDigest];
  const isTail = Number.isSafeInteger(tailBytes) && tailBytes >= 1 && tailBytes <= Math.min(size, maxIndexTailBytes);
  if (!isTail || typeof tailDigest !== 'string' || !isSha256(tailDigest))
    throw wrong('it does not say what its tail is');
  const artifact = { layer, digest, size, tail: { bytes: tailBytes, digest: tailDigest } };
  const signature = parseSignature(given[layerIndexAnnotations.signature]);
  return signature === undefined ? artifact : { ...artifact, signature };
}

/** The tail in the manifest of an index; undefined if there is none, or if its digest is wrong. */
export function inlineTailOf(bytes: Buffer, { tail }: IndexArtifact): Buffer | undefined {
  const given = (parsed(bytes).json['annotations'] ?? {}) as Readonly<Record<string, unknown>>;
  const text = given[layerIndexAnnotations.tail];
  if (typeof text !== 'string') return undefined;
  const found = Buffer.from(text, 'base64');
  return found.length === tail.bytes && sha256(found) === tail.digest ? found : undefined;
}

/** The layer that the manifest of an index names; undefined if it is none or names none. */
export function layerOfArtifact(bytes: Buffer): string | undefined {
  try {
    const annotations = (parsed(bytes).json['annotations'] ?? {}) as Readonly<Record<string, unknown>>;
    const layer = annotations[layerIndexAnnotations.layer];
    return typeof layer === 'string' ? layer : undefined;
  } catch {
    return undefined;
  }
}

function parsed(bytes: Buffer): ReturnType<typeof parseManifest> {
  try {
    return parseManifest(bytes);
  } catch (error) {
    throw wrong('it is no manifest', error);
  }
}

/** A malformed signature cannot be right: it counts as none. */
function parseSignature(text: unknown): IndexSignature | undefined {
  const pattern = /^(?<key>[0-9a-f]{16}) (?<value>[A-Za-z0-9+/]{86}==)$/;
  const { key, value } = (typeof text === 'string' && pattern.exec(text)?.groups) || {};
  return key === undefined || value === undefined ? undefined : { key, value };
}

function wrong(what: string, cause?: unknown): LazypullError {
  return new LazypullError('DataLoss', `Cannot use the manifest of a layer index: ${what}`, { cause });
}

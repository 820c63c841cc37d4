import { goList, goStrings, isObject, type Json } from '../images/go-json.ts';
import {
  attestedAnnotation,
  type Descriptor,
  encodeDescriptor,
  type ImageConfig,
  type ImageIndex,
  type ImageManifest,
  parseDescriptor,
} from '../images/manifest.ts';
import {
  isForeignLayer,
  isGzipLayer,
  isLayer,
  ociConfig,
  ociIndex,
  ociLayerGzip,
  ociManifest,
} from '../images/media-types.ts';
import { lazyAnnotations, tocDigestLabel, uncompressedSizeAnnotation } from '../label-names.ts';
import { isDigest } from '../registry/reference.ts';
import type { EstargzResult } from './estargz-writer.ts';

/** A layer of the converted image. */
export interface ConvertedLayer {
  descriptor: Descriptor;
  diffId: string;
}

/**
 * What happens to a layer: it is converted, copied as it is (it is eStargz already, or not a tar), or only its
 * descriptor is kept (no registry has it).
 */
export type LayerPlan = 'convert' | 'copy' | 'keep';

export function planLayer({ mediaType, annotations }: Descriptor): LayerPlan {
  if (isForeignLayer(mediaType)) return 'keep';
  if (!isLayer(mediaType)) return 'copy';
  return isGzipLayer(mediaType) && isDigest(annotations[tocDigestLabel] ?? '') ? 'copy' : 'convert';
}

/** Annotations without those that describe bytes, which change in a conversion. */
function withoutOld(annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => !lazyAnnotations.test(key)));
}

/**
 * The descriptor of a layer that has been written as eStargz. Annotations of the source stay, except for those of a
 * lazy format.
 */
export function estargzLayer(source: Descriptor, result: EstargzResult): ConvertedLayer {
  const annotations = {
    ...withoutOld(source.annotations),
    [tocDigestLabel]: result.tocDigest,
    [uncompressedSizeAnnotation]: String(result.uncompressedSize),
  };
  const descriptor = { mediaType: ociLayerGzip, digest: result.digest, size: result.size, annotations, rest: {} };
  return { descriptor, diffId: result.diffId };
}

/** The descriptor of a layer that is copied as it is; if it is eStargz already, with OCI's media type. */
export function copiedLayer(source: Descriptor): Descriptor {
  return isLayer(source.mediaType) ? { ...source, mediaType: ociLayerGzip } : source;
}

/** The config with the diff IDs of the converted layers. Everything else stays, even the history. */
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
    ...annotationsOf(manifest.json),
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

/** A member of an index before and after: the same if it was copied. */
export interface WrittenMember {
  readonly old: Descriptor;
  readonly written: Descriptor;
}

/**
 * The index, as one of OCI, with the written members. Attestations follow the image that they belong to. SOCI's index
 * of a converted image is left out, because it describes layers that do not exist any more.
 */
export function rewriteIndex(index: ImageIndex, members: readonly WrittenMember[]): Buffer {
  const converted = new Map<string, string>();
  for (const { old, written } of members) if (old.digest !== written.digest) converted.set(old.digest, written.digest);
  const kept = members.filter(({ old }) => !converted.has(old.annotations[sociImageAnnotation] ?? ''));
  const rewritten = kept.map(({ old, written }) => {
    const attested = converted.get(old.annotations[attestedAnnotation] ?? '');
    if (attested === undefined) return written;
    return { ...written, annotations: { ...old.annotations, [attestedAnnotation]: attested } };
  });
  return encode({
    ...index.json,
    ...annotationsOf(index.json),
    schemaVersion: 2,
    mediaType: ociIndex,
    manifests: rewritten.map(encodeDescriptor),
  });
}

/** The annotation of a SOCI index in an OCI index that names its image. */
const sociImageAnnotation = 'com.amazon.soci.image-manifest-digest';

/** The annotations of a document that stay true after the conversion, as a field of it; nothing if it has none. */
function annotationsOf(json: Json): { annotations?: Json } {
  const annotations = goStrings(json['annotations']);
  return annotations === undefined || json['annotations'] === undefined ? {} : { annotations: withoutOld(annotations) };
}

/**
 * Everything that a manifest of any kind names, as far as that is known: a copy of it needs these too. Layers that
 * registries do not have are left out.
 */
export function blobsOf(manifest: Buffer): Descriptor[] {
  const json = jsonOf(manifest);
  const lists = [[json['config']], json['layers'], json['blobs']].map((list) => goList(list, maxBlobs) ?? []);
  const named = lists.flat().flatMap((value) => {
    try {
      return [parseDescriptor(value, 'manifest')];
    } catch {
      return [];
    }
  });
  return named.filter(({ mediaType }) => !isForeignLayer(mediaType));
}

function jsonOf(bytes: Buffer): Json {
  try {
    const json: unknown = JSON.parse(bytes.toString('utf8'));
    return isObject(json) ? json : {};
  } catch {
    return {};
  }
}

/** As many as the layers that are read of a manifest. */
const maxBlobs = 4096;

/** The descriptor of a rewritten manifest: platform and annotations of the old one, the rest new. */
export function replacedDescriptor(old: Descriptor, mediaType: string, digest: string, size: number): Descriptor {
  return { mediaType, digest, size, annotations: withoutOld(old.annotations), rest: withoutData(old.rest) };
}

/** Embedded content (`data`) belongs to the old blob. */
function withoutData(rest: Json): Json {
  return Object.fromEntries(Object.entries(rest).filter(([key]) => key !== 'data'));
}

function encode(json: Json): Buffer {
  return Buffer.from(JSON.stringify(json, null, 2));
}

import { LazypullError } from '../errors.ts';
import {
  attestedAnnotation,
  type Descriptor,
  encodeDescriptor,
  type ImageConfig,
  type ImageIndex,
  type ImageManifest,
  type Json,
  tocDigestAnnotation,
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
import { isDigest } from '../registry/reference.ts';
import type { EstargzResult } from './estargz-writer.ts';

/** The annotation by which Podman knows how many bytes the layer inflates to. */
export const uncompressedSizeAnnotation = 'io.containers.estargz.uncompressed-size';

/** A layer of the converted image. */
export interface ConvertedLayer {
  descriptor: Descriptor;
  diffId: string;
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

/** Embedded content (`data`) is that of the old blob. */
function withoutData(rest: Json): Json {
  return Object.fromEntries(Object.entries(rest).filter(([key]) => key !== 'data'));
}

function encode(json: Json): Buffer {
  return Buffer.from(JSON.stringify(json, null, 2));
}

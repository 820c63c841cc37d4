/**
 * Every label of a snapshot and annotation of a manifest that lazypull reads or writes. Most names belong to other
 * projects: containerd (core/snapshots, pkg/snapshotters), stargz-snapshotter (fs/source, estargz), BuildKit
 * (cache/refs.go) and Podman.
 *
 * A new one is a constant here. Labels that say which layer is meant are read in `layers/resolve/layer-ref.ts`, the
 * other labels of a snapshot in `snapshots/labels.ts`, annotations in `images/manifest.ts`, and those of a layer
 * index in a registry in `indexes/artifact.ts`.
 */

/**
 * On Prepare: the name by which the client will look for the layer if it could be mounted lazily. It stays on the
 * snapshot, so that containerd finds it.
 */
export const targetLabel = 'containerd.io/snapshot.ref';

/**
 * On a committed snapshot: it is a lazy layer. BuildKit checks only that it exists; stargz-snapshotter writes this
 * value.
 */
export const remoteLabel = 'containerd.io/snapshot/remote';
export const remoteLabelValue = 'remote snapshot';

/**
 * The labels by which clients of CRI name a layer: its image, its digest, and the digests of this layer and those above
 * it, separated by commas.
 */
export const criLabels = {
  reference: 'containerd.io/snapshot/cri.image-ref',
  digest: 'containerd.io/snapshot/cri.layer-digest',
  layers: 'containerd.io/snapshot/cri.image-layers',
} as const;

/** The same labels of all other clients. */
export const stargzLabels = {
  reference: 'containerd.io/snapshot/remote/stargz.reference',
  digest: 'containerd.io/snapshot/remote/stargz.digest',
  layers: 'containerd.io/snapshot/remote/stargz.layers',
} as const;

/** How many bytes of the blob's start the client wants at once. */
export const prefetchLabel = 'containerd.io/snapshot/remote/stargz.prefetch';

/** A label, and an annotation of a layer in a manifest: the digest of the JSON of an eStargz table of contents. */
export const tocDigestLabel = 'containerd.io/snapshot/stargz/toc.digest';

/** An annotation that tells Podman how many bytes an eStargz layer inflates to. */
export const uncompressedSizeAnnotation = 'io.containers.estargz.uncompressed-size';

/** Annotations by which lazy snapshotters find something in the bytes of a layer or an image. */
export const lazyAnnotations =
  /^(io\.(github\.)?containers\.|containerd\.io\/snapshot\/(stargz|overlaybd|nydus)|com\.amazon\.soci\.)/;

/** The annotations of zstd:chunked. */
export const zstdChunkedAnnotations = /^io\.(github\.)?containers\.zstd-chunked\./;

/** On content: the repositories of this host that have it. */
export function distributionLabel(host: string): string {
  return `containerd.io/distribution.source.${host}`;
}

/** For containerd's garbage collection: on a lease, its end; on content, the content or snapshot that it needs. */
export const expiryLabel = 'containerd.io/gc.expire';
export function contentReferenceLabel(field: string): string {
  return `containerd.io/gc.ref.content.${field}`;
}
export function snapshotReferenceLabel(snapshotter: string): string {
  return `containerd.io/gc.ref.snapshot.${snapshotter}`;
}

/**
 * On the manifest of a layer index: the layer, the part of the index that a mount needs, and a signature. A list of
 * referrers has them too.
 */
export const layerIndexAnnotations = {
  layer: 'vnd.lazypull.layer',
  tailBytes: 'vnd.lazypull.tail.bytes',
  tailDigest: 'vnd.lazypull.tail.digest',
  /** In base64, if it is short. */
  tail: 'vnd.lazypull.tail',
  signature: 'vnd.lazypull.signature',
} as const;

/*
 * Every label of a snapshot and annotation of a manifest that lazypull reads or writes. Most are other projects' names:
 * containerd's (core/snapshots, pkg/snapshotters), stargz-snapshotter's (fs/source, estargz), BuildKit's
 * (cache/refs.go) and Podman's.
 */

/**
 * On Prepare: the name under which the client will look for the layer when it could be mounted lazily. Stays on the
 * snapshot, where containerd looks for it.
 */
export const targetLabel = 'containerd.io/snapshot.ref';

/**
 * On a committed snapshot: it is a lazy layer. BuildKit asks for the presence, stargz-snapshotter writes this value.
 */
export const remoteLabel = 'containerd.io/snapshot/remote';
export const remoteLabelValue = 'remote snapshot';

/**
 * The labels by which clients of CRI name a layer: its image, its digest, and the digests of this layer and those above
 * it with commas between them.
 */
export const criLabels = {
  reference: 'containerd.io/snapshot/cri.image-ref',
  digest: 'containerd.io/snapshot/cri.layer-digest',
  layers: 'containerd.io/snapshot/cri.image-layers',
} as const;

/** The same of all other clients. */
export const stargzLabels = {
  reference: 'containerd.io/snapshot/remote/stargz.reference',
  digest: 'containerd.io/snapshot/remote/stargz.digest',
  layers: 'containerd.io/snapshot/remote/stargz.layers',
} as const;

/** How much of the blob's start the client wants at once, in bytes. */
export const prefetchLabel = 'containerd.io/snapshot/remote/stargz.prefetch';

/** A label, and an annotation of a layer in a manifest: the digest of the JSON of an eStargz table of contents. */
export const tocDigestLabel = 'containerd.io/snapshot/stargz/toc.digest';

/** An annotation by which Podman knows how many bytes an eStargz layer inflates to. */
export const uncompressedSizeAnnotation = 'io.containers.estargz.uncompressed-size';

/** Annotations by which lazy snapshotters find something in the bytes of a layer or an image. */
export const lazyAnnotations =
  /^(io\.(github\.)?containers\.|containerd\.io\/snapshot\/(stargz|overlaybd|nydus)|com\.amazon\.soci\.)/;

/** Those that zstd:chunked has. */
export const zstdChunkedAnnotations = /^io\.(github\.)?containers\.zstd-chunked\./;

/** On content: the repositories of this host that have it. */
export function distributionLabel(host: string): string {
  return `containerd.io/distribution.source.${host}`;
}

/** For containerd's garbage collection: on a lease, when it ends; on content, which content or snapshot it needs. */
export const expiryLabel = 'containerd.io/gc.expire';
export function contentReferenceLabel(field: string): string {
  return `containerd.io/gc.ref.content.${field}`;
}
export function snapshotReferenceLabel(snapshotter: string): string {
  return `containerd.io/gc.ref.snapshot.${snapshotter}`;
}

/**
 * On the manifest of a layer index: the layer, what of the index a mount needs, and a signature. A list of referrers
 * has them too.
 */
export const layerIndexAnnotations = {
  layer: 'vnd.lazypull.layer',
  tailBytes: 'vnd.lazypull.tail.bytes',
  tailDigest: 'vnd.lazypull.tail.digest',
  /** In base64, if it is short. */
  tail: 'vnd.lazypull.tail',
  signature: 'vnd.lazypull.signature',
} as const;

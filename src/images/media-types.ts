/** Media types of the OCI image specification and of Docker's image manifest V2 schema 2. */
export const ociIndex = 'application/vnd.oci.image.index.v1+json';
export const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
export const ociConfig = 'application/vnd.oci.image.config.v1+json';
export const ociLayerGzip = 'application/vnd.oci.image.layer.v1.tar+gzip';

export function isIndex(mediaType: string): boolean {
  return mediaType === ociIndex || mediaType === 'application/vnd.docker.distribution.manifest.list.v2+json';
}

export function isManifest(mediaType: string): boolean {
  return mediaType === ociManifest || mediaType === 'application/vnd.docker.distribution.manifest.v2+json';
}

/**
 * Whether it is an image's configuration. Registries have old images whose manifests call it just bytes; containerd
 * ignores its type.
 */
export function isConfig(mediaType: string): boolean {
  return configs.has(mediaType);
}

const configs: ReadonlySet<string> = new Set([
  ociConfig,
  'application/vnd.docker.container.image.v1+json',
  'application/octet-stream',
]);

/**
 * Whether a layer is a tar, perhaps compressed, that a registry has. The rest of its type after a `+` does not matter,
 * as in containerd (core/images, DiffCompression), except for encryption.
 */
export function isLayer(mediaType: string): boolean {
  const [base = '', ...suffixes] = mediaType.split('+');
  return layers.has(base) && !suffixes.includes('encrypted');
}

const layers: ReadonlySet<string> = new Set([
  'application/vnd.oci.image.layer.v1.tar',
  'application/vnd.docker.image.rootfs.diff.tar',
  'application/vnd.docker.image.rootfs.diff.tar.gzip',
  'application/vnd.docker.image.rootfs.diff.tar.zstd',
]);

/** Whether a layer may not be distributed, so that registries do not have it: it has to stay as it is. */
export function isForeignLayer(mediaType: string): boolean {
  return (
    mediaType.startsWith('application/vnd.oci.image.layer.nondistributable.v1.tar') ||
    mediaType.startsWith('application/vnd.docker.image.rootfs.foreign.diff.tar')
  );
}

/** Whether a layer is a gzip of a tar, as eStargz is. */
export function isGzipLayer(mediaType: string): boolean {
  return mediaType === ociLayerGzip || mediaType === 'application/vnd.docker.image.rootfs.diff.tar.gzip';
}

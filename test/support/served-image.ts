import { type EstargzBlob, estargzBlob, type FileSpec } from './estargz-blob.ts';
import type { TestRegistry } from './registry.ts';

const tocDigest = 'containerd.io/snapshot/stargz/toc.digest';
const gzipLayer = 'application/vnd.oci.image.layer.v1.tar+gzip';
const manifestType = 'application/vnd.oci.image.manifest.v1+json';

/** A layer of a served image: its files, a blob of them, or a blob that is not eStargz. */
export type LayerSpec = readonly FileSpec[] | EstargzBlob | Buffer;

/** Has a test registry serve an image as `name:1`. @returns the digests of its layers, the lowest first */
export function serveImage(registry: TestRegistry, name: string, layers: readonly LayerSpec[]): string[] {
  const descriptors = layers.map((layer) => {
    if (Buffer.isBuffer(layer)) {
      return { mediaType: gzipLayer, digest: registry.addBlob(layer), size: layer.length };
    }
    const { bytes, context } = 'context' in layer ? layer : estargzBlob(layer as readonly FileSpec[], 100_000);
    const annotations = { [tocDigest]: context.tocDigest };
    return { mediaType: gzipLayer, digest: registry.addBlob(bytes), size: bytes.length, annotations };
  });
  const configBytes = Buffer.from('{}');
  const config = {
    mediaType: 'application/vnd.oci.image.config.v1+json',
    digest: registry.addBlob(configBytes),
    size: configBytes.length,
  };
  const manifest = { schemaVersion: 2, mediaType: manifestType, config, layers: descriptors };
  registry.addManifest(name, '1', manifestType, Buffer.from(JSON.stringify(manifest)));
  return descriptors.map(({ digest }) => digest);
}

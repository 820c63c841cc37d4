import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { sha256 } from '../../src/chunks/digest.ts';
import { ociConfig, ociLayerGzip, ociManifest } from '../../src/images/media-types.ts';
import type { TestRegistry } from './registry.ts';
import { buildTar } from './tar-builder.ts';

/** An image as its publisher made it: plain gzip, no table of contents. */
export interface PlainImage {
  readonly layers: readonly Buffer[];
  readonly digests: readonly string[];
  readonly config: Buffer;
  readonly manifest: Buffer;
}

/** An image with a layer for each of the numbers, which say how many bytes a file in it has. */
export function plainImage(fileBytes: readonly number[]): PlainImage {
  const tars = fileBytes.map((bytes, i) => buildTar(entriesOf(i, bytes)));
  const layers = tars.map((tar) => gzipSync(tar, { level: 1 }));
  const config = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      config: {},
      rootfs: { type: 'layers', diff_ids: tars.map((tar) => sha256(tar)) },
    }),
  );
  const descriptor = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: sha256(bytes), size: bytes.length });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: descriptor(ociConfig, config),
      layers: layers.map((layer) => descriptor(ociLayerGzip, layer)),
    }),
  );
  return { layers, digests: layers.map((layer) => sha256(layer)), config, manifest };
}

function entriesOf(layer: number, bytes: number) {
  return [
    { name: `dir${layer}/`, typeflag: '5', mode: 0o755, mtime: 1_700_000_000 },
    { name: `dir${layer}/large`, data: content(bytes), mtime: 1_700_000_000, uid: 1000 },
    { name: `dir${layer}/small`, data: Buffer.from('hello\n'), pax: { 'SCHILY.xattr.user.x': 'y' } },
    { name: `dir${layer}/empty` },
    { name: `dir${layer}/link`, typeflag: '2', linkName: 'large' },
    { name: `dir${layer}/hard`, typeflag: '1', linkName: `dir${layer}/large` },
  ];
}

/** Text of which some repeats, so that inflating needs what was before. */
function content(bytes: number): Buffer {
  const noise = (): Buffer => Buffer.from(randomBytes(1 << 14).toString('hex'));
  const same = noise();
  const pieces = Array.from({ length: Math.ceil(bytes / same.length) }, (_, i) => (i % 3 === 2 ? same : noise()));
  return Buffer.concat(pieces).subarray(0, bytes);
}

/** Puts the image into a repository of a test registry. */
export function serveImage(registry: TestRegistry, repository: string, tag: string, image: PlainImage): void {
  for (const bytes of [...image.layers, image.config]) registry.addBlob(bytes);
  registry.addManifest(repository, tag, ociManifest, image.manifest);
}

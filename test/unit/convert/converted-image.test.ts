import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  blobsOf,
  copiedLayer,
  estargzLayer,
  planLayer,
  replacedDescriptor,
  rewriteConfig,
  rewriteIndex,
  rewriteManifest,
} from '../../../src/convert/converted-image.ts';
import { type Descriptor, parseConfig, parseIndex, parseManifest } from '../../../src/images/manifest.ts';
import { tocDigestLabel } from '../../../src/label-names.ts';

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const ociGzip = 'application/vnd.oci.image.layer.v1.tar+gzip';
const dockerGzip = 'application/vnd.docker.image.rootfs.diff.tar.gzip';
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const layer = (mediaType: string, annotations: Record<string, string> = {}): Descriptor => ({
  mediaType,
  digest: digest('a'),
  size: 10,
  annotations,
  rest: {},
});
const json = (bytes: Buffer) => JSON.parse(String(bytes)) as Record<string, never>;

test('planLayer converts tars, copies eStargz and what is no tar, and keeps what registries do not have', () => {
  const toc = { [tocDigestLabel]: digest('b') };
  assert.equal(planLayer(layer(ociGzip)), 'convert');
  assert.equal(planLayer(layer('application/vnd.oci.image.layer.v1.tar+zstd', toc)), 'convert');
  assert.equal(planLayer(layer(ociGzip, toc)), 'copy');
  assert.equal(planLayer(layer(ociGzip, { [tocDigestLabel]: 'no digest' })), 'convert');
  assert.equal(planLayer(layer('application/vnd.oci.image.layer.v1.tar+gzip+encrypted')), 'copy');
  assert.equal(planLayer(layer('application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')), 'keep');
});

test('estargzLayer has the annotations of eStargz in place of those of other lazy formats', () => {
  const source = layer(dockerGzip, { keep: 'me', 'com.amazon.soci.index': 'x', 'io.containers.zstd-chunked.x': 'y' });
  const result = { digest: digest('c'), size: 7, diffId: digest('d'), tocDigest: digest('e'), uncompressedSize: 99 };
  const { descriptor, diffId } = estargzLayer(source, result);
  assert.equal(diffId, digest('d'));
  assert.deepEqual([descriptor.mediaType, descriptor.digest, descriptor.size], [ociGzip, digest('c'), 7]);
  assert.deepEqual(descriptor.annotations, {
    keep: 'me',
    [tocDigestLabel]: digest('e'),
    'io.containers.estargz.uncompressed-size': '99',
  });
});

test('copiedLayer has a media type of OCI if it is a layer', () => {
  assert.equal(copiedLayer(layer(dockerGzip)).mediaType, ociGzip);
  assert.equal(copiedLayer(layer('application/vnd.example')).mediaType, 'application/vnd.example');
});

test('rewriteConfig changes the diff IDs and nothing else', () => {
  const old = {
    os: 'linux',
    history: [{ created_by: 'x' }],
    rootfs: { type: 'layers', diff_ids: [digest('a')] },
    own: { deep: 1 },
  };
  const config = parseConfig(Buffer.from(JSON.stringify(old)), 1);
  const written = json(rewriteConfig(config, [{ descriptor: layer(ociGzip), diffId: digest('f') }]));
  assert.deepEqual(written, { ...old, rootfs: { type: 'layers', diff_ids: [digest('f')] } });
});

test('rewriteManifest makes a manifest of OCI, without the embedded content of what has changed', () => {
  const old = {
    schemaVersion: 2,
    mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
    config: {
      mediaType: 'application/vnd.docker.container.image.v1+json',
      digest: digest('1'),
      size: 1,
      data: 'e30=',
    },
    layers: [{ mediaType: dockerGzip, digest: digest('a'), size: 10 }],
    annotations: { keep: 'me', 'containerd.io/snapshot/nydus-bootstrap': 'x' },
    subject: { own: true },
  };
  const layers = [{ descriptor: layer(ociGzip), diffId: digest('f') }];
  const manifest = parseManifest(Buffer.from(JSON.stringify(old)));
  assert.deepEqual(json(rewriteManifest(manifest, { digest: digest('2'), size: 3 }, layers)), {
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digest('2'), size: 3 },
    layers: [{ mediaType: ociGzip, digest: digest('a'), size: 10 }],
    annotations: { keep: 'me' },
    subject: { own: true },
  });
});

test('rewriteIndex ties attestations to the new image, and leaves the index of SOCI for the old one out', () => {
  const member = (letter: string, annotations: Record<string, string> = {}): Descriptor => ({
    ...layer(manifestType, annotations),
    digest: digest(letter),
  });
  const image = member('a');
  const attestation = member('b', { 'vnd.docker.reference.digest': digest('a'), more: 'x' });
  const soci = member('c', { 'com.amazon.soci.image-manifest-digest': digest('a') });
  const other = member('d', { 'com.amazon.soci.image-manifest-digest': digest('e') });
  const index = parseIndex(Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [] })));
  const members = [
    { old: image, written: { ...image, digest: digest('f') } },
    ...[attestation, soci, other].map((old) => ({ old, written: old })),
  ];
  const { manifests } = json(rewriteIndex(index, members)) as unknown as { manifests: Descriptor[] };
  assert.deepEqual(
    manifests.map((each) => each.digest),
    [digest('f'), digest('b'), digest('d')],
  );
  assert.deepEqual(manifests[1]!.annotations, { 'vnd.docker.reference.digest': digest('f'), more: 'x' });
});

test('blobsOf names what any kind of manifest names, and nothing of what is no manifest', () => {
  const descriptor = (letter: string, mediaType = ociGzip) => ({ mediaType, digest: digest(letter), size: 1 });
  const manifest = {
    config: descriptor('a'),
    layers: [
      descriptor('b'),
      { digest: 'not one' },
      descriptor('c', 'application/vnd.oci.image.layer.nondistributable.v1.tar'),
    ],
    blobs: [descriptor('d')],
  };
  assert.deepEqual(
    blobsOf(Buffer.from(JSON.stringify(manifest))).map((each) => each.digest),
    [digest('a'), digest('b'), digest('d')],
  );
  for (const text of ['', '[]', 'null', '{"layers": 1}', '{"layers": [null, 1, {}]}']) {
    assert.deepEqual(blobsOf(Buffer.from(text)), [], text);
  }
});

test('replacedDescriptor keeps the platform, and drops embedded content', () => {
  const platform = { os: 'linux', architecture: 'arm64' };
  const old = { ...layer(manifestType, { keep: 'me' }), rest: { platform, data: 'e30=' } };
  assert.deepEqual(replacedDescriptor(old, manifestType, digest('f'), 5), {
    mediaType: manifestType,
    digest: digest('f'),
    size: 5,
    annotations: { keep: 'me' },
    rest: { platform },
  });
});

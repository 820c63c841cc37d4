import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parsePlatform } from '../../../src/images/platforms.ts';
import { resolveImage } from '../../../src/images/resolve.ts';
import { inspectLayer } from '../../../src/image-reader/inspect.ts';
import { refusalAdvice } from '../../../src/layers/resolve/refusal.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import { parseReference } from '../../../src/registry/reference.ts';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { startRegistry } from '../../support/registry.ts';

const tocDigest = 'containerd.io/snapshot/stargz/toc.digest';
const gzipLayer = 'application/vnd.oci.image.layer.v1.tar+gzip';
const manifestType = 'application/vnd.oci.image.manifest.v1+json';

/** A registry and a client of it. */
async function start(t: TestContext) {
  const registry = await startRegistry();
  const client = new RegistryClient({ environment: {}, retry: { tries: 1 } });
  t.after(async () => {
    await client.close();
    await registry[Symbol.asyncDispose]();
  });
  const descriptor = (bytes: Buffer, mediaType: string, annotations: Record<string, string> = {}) => ({
    mediaType,
    digest: registry.addBlob(bytes),
    size: bytes.length,
    annotations,
  });
  return { registry, client, descriptor, reference: parseReference(`${registry.host}/app:1`) };
}

const files = [
  { path: '.', type: 'dir', mode: 0o755 },
  { path: 'a', type: 'reg', mode: 0o644, content: randomBytes(300_000) },
  { path: 'empty', type: 'reg', mode: 0o644, content: Buffer.alloc(0) },
  { path: '.prefetch.landmark', type: 'reg', mode: 0o644, content: Buffer.from('x') },
] as const;

test('inspectLayer describes each layer of an image that was resolved for a platform', async (t) => {
  const { registry, client, descriptor, reference } = await start(t);
  const blob = estargzBlob(files, 100_000);
  // Not even a conversion makes such a layer lazy, so there is no advice to convert it.
  const odd = estargzBlob(
    [
      { path: 'link', type: 'symlink', mode: 0o777, linkTarget: 'a' },
      { path: 'link/file', type: 'reg', mode: 0o644, content: Buffer.from('x') },
    ],
    100_000,
  );
  const full = estargzBlob(
    [{ path: 'f', type: 'reg', mode: 0o644, content: Buffer.from('x'), xattrs: { 'user.a': Buffer.alloc(65_536) } }],
    100_000,
  );
  const layers = [
    descriptor(blob.bytes, gzipLayer, { [tocDigest]: blob.context.tocDigest }),
    descriptor(blob.bytes, gzipLayer),
    descriptor(gzipSync(Buffer.alloc(5000)), gzipLayer),
    descriptor(blob.bytes, gzipLayer, { [tocDigest]: `sha256:${'0'.repeat(64)}` }),
    descriptor(Buffer.from('x'), 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'),
    descriptor(Buffer.from('x'), `${gzipLayer}+encrypted`),
    descriptor(odd.bytes, gzipLayer, { [tocDigest]: odd.context.tocDigest }),
    descriptor(full.bytes, gzipLayer, { [tocDigest]: full.context.tocDigest }),
  ];
  const config = descriptor(Buffer.from('{}'), 'application/vnd.oci.image.config.v1+json');
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config, layers }));
  const digest = registry.addManifest('app', undefined, manifestType, manifest);
  const member = { mediaType: manifestType, digest, size: manifest.length };
  const manifests = [
    { ...member, platform: { os: 'linux', architecture: 'arm64' }, digest: `sha256:${'1'.repeat(64)}` },
    { ...member, platform: { os: 'linux', architecture: 'amd64', variant: 'v2' } },
  ];
  const indexType = 'application/vnd.oci.image.index.v1+json';
  registry.addManifest('app', '1', indexType, Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));

  const image = await resolveImage(client, reference, parsePlatform('linux/amd64/v3'));
  assert.equal(image.digest, digest);
  assert.equal(image.platform, 'linux/amd64/v2');
  const reports = await Promise.all(
    image.manifest.layers.map((layer) => inspectLayer(client.blob(reference, layer.digest), layer)),
  );
  assert.deepEqual(
    reports.map(({ format, problem }) => [format, problem?.reason]),
    [
      ['estargz', undefined],
      ['estargz', 'no_toc_digest'],
      ['gzip', 'no_toc'],
      ['gzip', 'content'],
      ['foreign', 'unsupported'],
      ['unknown', 'unsupported'],
      ['gzip', 'unsupported'],
      ['gzip', 'limit'],
    ],
  );
  const { landmark, ...content } = reports[0]!.content!;
  assert.deepEqual(content, { files: 3, entries: 4, chunks: 4, bytes: 300_001 });
  assert.equal(landmark.kind, 'prefetch');
  assert.match(reports[1]!.problem!.message, /lacks its annotation/);
  await assert.rejects(resolveImage(client, reference, parsePlatform('linux/s390x')), /has no platform "linux\/s390x"/);
});

test('inspectLayer does not advise to convert what a conversion leaves as it is', () => {
  assert.doesNotMatch(refusalAdvice.unsupported, /convert/);
  assert.match(refusalAdvice.format, /lazypull convert/);
});

test('resolveImage looks up the platform of an image that is in no index if one is asked for', async (t) => {
  const { registry, client, descriptor, reference } = await start(t);
  const configType = 'application/vnd.oci.image.config.v1+json';
  const serve = (json: object): void => {
    const config = descriptor(Buffer.from(JSON.stringify(json)), configType);
    const manifest = { schemaVersion: 2, mediaType: manifestType, config, layers: [] };
    registry.addManifest('app', '1', manifestType, Buffer.from(JSON.stringify(manifest)));
  };
  serve({ os: 'linux', architecture: 'arm64', variant: 'v8' });
  await assert.rejects(resolveImage(client, reference, parsePlatform('linux/amd64')), {
    code: 'NotFound',
    message: /has no platform "linux\/amd64": it is a single image for linux\/arm64\/v8/,
  });
  const { platform, configuration } = await resolveImage(client, reference, parsePlatform('linux/arm64'));
  assert.equal(platform, 'linux/arm64/v8');
  assert.match(String(configuration), /"arm64"/);
  registry.resetCounts();
  assert.equal((await resolveImage(client, reference)).platform, undefined);
  assert.equal(registry.requests.length, 1, 'nobody asked for a platform');
  serve({});
  await assert.rejects(
    resolveImage(client, reference, parsePlatform('linux/amd64')),
    /it is a single image of no platform/,
  );
});

test('inspectLayer takes the refusal of a registry as the problem of the layer', async (t) => {
  const { registry, client, descriptor, reference } = await start(t);
  const layer = { ...descriptor(Buffer.alloc(1000), gzipLayer, { [tocDigest]: `sha256:${'0'.repeat(64)}` }), rest: {} };
  const look = async () => (await inspectLayer(client.blob(reference, layer.digest), layer)).problem?.reason;
  registry.script({}, { kind: 'status', status: 403 });
  assert.equal(await look(), 'credentials');
  registry.script({}, { kind: 'status', status: 503 });
  assert.equal(await look(), 'registry');
  registry.script({}, { kind: 'status', status: 404 });
  assert.equal(await look(), 'not_found');
  assert.equal(await look(), 'format');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isContainerImage, parseConfig, parseIndex, parseManifest, platformOf } from '../../../src/images/manifest.ts';

const digest = `sha256:${'1'.repeat(64)}`;
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 2 };
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 5 };
const bytes = (json: unknown) => Buffer.from(JSON.stringify(json));

test('parseManifest takes null and nothing as an empty list or map, as Go does', () => {
  for (const layers of [null, [], undefined]) {
    const manifest = parseManifest(bytes({ schemaVersion: 2, config: { ...config, annotations: null }, layers }));
    assert.deepEqual([manifest.layers, manifest.config.annotations], [[], {}]);
    assert.ok(isContainerImage(manifest));
    assert.deepEqual(parseIndex(bytes({ manifests: layers })).manifests, []);
    assert.deepEqual(
      parseConfig(bytes({ rootfs: { type: 'layers', diff_ids: layers }, history: null }), 0).diffIds,
      [],
    );
  }
  for (const rootfs of [null, undefined]) assert.deepEqual(parseConfig(bytes({ rootfs }), 0).diffIds, []);
  const full = { ...layer, urls: null, data: null, platform: null, annotations: { a: 'b', c: null } };
  const [parsed] = parseManifest(bytes({ config, annotations: null, layers: [full] })).layers;
  assert.deepEqual(parsed, { ...layer, annotations: { a: 'b', c: '' }, rest: {} });
  const [member] = parseIndex(
    bytes({ manifests: [{ ...layer, platform: { os: null, 'os.features': null } }] }),
  ).manifests;
  assert.equal(platformOf(member!)?.os, '');
  const { mediaType: _, ...untyped } = layer;
  assert.deepEqual(
    parseIndex(bytes({ manifests: [untyped, { ...layer, mediaType: null }] })).manifests.map((each) => each.mediaType),
    ['', ''],
  );
  assert.throws(() => parseIndex(bytes({ manifests: [{ ...layer, mediaType: 5 }] })), /is not a string/);
  assert.throws(() => parseConfig(bytes({ rootfs: { diff_ids: null } }), 1), /0 diff IDs for 1 layers/);
  assert.throws(() => parseManifest(bytes({ config, layers: {} })), /list of up to/);
  assert.throws(() => parseManifest(bytes({ config, layers: [null] })), /not an object/);
  assert.throws(() => parseConfig(bytes({ rootfs: [] }), 0), /list of diff IDs/);
});

test('parseManifest ignores the case of the names of fields, as Go does', () => {
  const odd = { SchemaVersion: 2, CONFIG: { MediaType: config.mediaType, Digest: digest, SIZE: 2 }, layerſ: [layer] };
  const manifest = parseManifest(bytes(odd));
  assert.deepEqual([manifest.config.digest, manifest.layers.length], [digest, 1]);
  assert.deepEqual(Object.keys(manifest.json), ['schemaVersion', 'config', 'layers']);
  const image = parseConfig(bytes({ RootFS: { Diff_IDs: [digest] }, OS: 'linux', Other: 1 }), 1);
  assert.deepEqual([image.diffIds, image.json['os'], image.json['Other']], [[digest], 'linux', 1]);
  const [member] = parseIndex(
    bytes({ Manifests: [{ ...layer, Platform: { OS: 'linux', Architecture: 'arm' } }] }),
  ).manifests;
  assert.equal(platformOf(member!)?.architecture, 'arm');
  for (const twice of ['{"layers":[],"Layers":[]}', '{"layers":[],"LAYERS":null}']) {
    assert.throws(() => parseManifest(Buffer.from(twice)), /it has the field "layers" twice/);
  }
  assert.throws(() => parseManifest(bytes({ config: { ...config, DIGEST: 'x' } })), /"digest" twice/);
});

test('parseManifest and parseIndex refuse a document that is both', () => {
  const manifest = { schemaVersion: 2, config, layers: [layer] };
  const both = [
    { ...manifest, manifests: [] },
    { ...manifest, Manifests: [layer] },
    { ...manifest, mediaType: 'application/vnd.oci.image.index.v1+json' },
  ];
  for (const json of both) assert.throws(() => parseManifest(bytes(json)), /it is an index too/);
  for (const more of [{ layers: [] }, { config }, { mediaType: 'application/vnd.oci.image.manifest.v1+json' }]) {
    assert.throws(() => parseIndex(bytes({ manifests: [layer], ...more })), /it is a manifest too/);
  }
  assert.throws(() => parseIndex(bytes({ manifests: [], fsLayers: [{}] })), /schema 1/);
});

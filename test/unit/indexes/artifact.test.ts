import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeArtifact, maxIndexBytes, maxIndexTailBytes, parseArtifact } from '../../../src/indexes/artifact.ts';
import { signIndex } from '../../../src/indexes/signature.ts';
import { keyPair, layerDigest, madeIndex } from '../../support/index-lab.ts';

const layer = layerDigest('a');
const { index } = madeIndex(layer);

test('parseArtifact gives what encodeArtifact was given', () => {
  assert.deepEqual(parseArtifact(encodeArtifact(index), layer), index);
  const signed = { ...index, signature: signIndex(index, keyPair().privateKey) };
  assert.deepEqual(parseArtifact(encodeArtifact(signed), layer), signed);
  const subject = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: layer, size: 5 };
  assert.deepEqual(parseArtifact(encodeArtifact(index, subject), layer), index);
});

test('parseArtifact refuses other manifests, other layers and numbers that cannot be', () => {
  const json = JSON.parse(encodeArtifact(index).toString());
  const annotations = (change: object) => ({ annotations: { ...json.annotations, ...change } });
  const blob = (change: object) => ({ layers: [{ ...json.layers[0], ...change }] });
  const changes: object[] = [
    { artifactType: 'application/vnd.other' },
    { layers: [] },
    { layers: [json.layers[0], json.layers[0]] },
    { layers: undefined },
    { manifests: [] },
    { annotations: undefined },
    { annotations: [] },
    blob({ size: 0 }),
    blob({ size: -1 }),
    blob({ size: maxIndexBytes + 1 }),
    blob({ digest: `sha512:${'0'.repeat(128)}` }),
    annotations({ 'vnd.lazypull.layer': layerDigest('b') }),
    annotations({ 'vnd.lazypull.tail.bytes': '0' }),
    annotations({ 'vnd.lazypull.tail.bytes': '1.5' }),
    annotations({ 'vnd.lazypull.tail.bytes': String(index.size + 1) }),
    { ...blob({ size: maxIndexBytes }), ...annotations({ 'vnd.lazypull.tail.bytes': String(maxIndexTailBytes + 1) }) },
    annotations({ 'vnd.lazypull.tail.digest': 'sha256:0' }),
    annotations({ 'vnd.lazypull.tail.digest': 5 }),
  ];
  for (const change of changes) {
    const bytes = Buffer.from(JSON.stringify({ ...json, ...change }));
    assert.throws(() => parseArtifact(bytes, layer), { code: 'DataLoss' }, JSON.stringify(change));
  }
  for (const text of ['', '[]', 'null', '{"layers":']) {
    assert.throws(() => parseArtifact(Buffer.from(text), layer), { code: 'DataLoss' });
  }
});

test('parseArtifact takes a signature that cannot be one for none', () => {
  const json = JSON.parse(encodeArtifact(index).toString());
  for (const text of ['', 'x', `${'0'.repeat(16)} AAAA`, 7]) {
    json.annotations['vnd.lazypull.signature'] = text;
    assert.equal(parseArtifact(Buffer.from(JSON.stringify(json)), layer).signature, undefined);
  }
});

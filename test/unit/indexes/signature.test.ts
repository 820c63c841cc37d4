import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { keyIdOf, parsePrivateKey, parsePublicKey, signIndex, TrustedKeys } from '../../../src/indexes/signature.ts';
import { keyPair, layerDigest, madeIndex } from '../../support/index-lab.ts';

const { index } = madeIndex(layerDigest('a'));

test('TrustedKeys.problemWith takes what a trusted key signed, and nothing that was changed', () => {
  const [mine, other] = [keyPair(), keyPair()];
  const keys = new TrustedKeys([other.publicPem, mine.publicPem]);
  const signature = signIndex(index, mine.privateKey);
  assert.equal(keys.problemWith(index, signature), undefined);
  assert.match(keys.problemWith(index, undefined) ?? '', /is not signed/);
  const changes = [
    { layer: layerDigest('b') },
    { digest: layerDigest('c') },
    { size: index.size + 1 },
    { tail: { ...index.tail, bytes: index.tail.bytes - 1 } },
    { tail: { ...index.tail, digest: layerDigest('d') } },
  ];
  for (const change of changes)
    assert.match(keys.problemWith({ ...index, ...change }, signature) ?? '', /wrong signature/);
  const stranger = signIndex(index, keyPair().privateKey);
  assert.match(keys.problemWith(index, stranger) ?? '', /not one of "index\.trusted_keys"/);
  assert.match(keys.problemWith(index, { ...stranger, key: signature.key }) ?? '', /wrong signature/);
});

test('parsePublicKey reads PEM, 32 bytes and DER in base64, and no other key', () => {
  const { privateKey, publicPem } = keyPair();
  const der = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const id = keyIdOf(createPublicKey(privateKey));
  for (const text of [
    publicPem,
    der.toString('base64'),
    der.subarray(12).toString('base64'),
    ` ${der.subarray(12).toString('base64')}\n`,
  ]) {
    assert.equal(keyIdOf(parsePublicKey(text)), id);
  }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const x25519 = generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'der' });
  for (const text of [
    '',
    'hello',
    rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    x25519.toString('base64'),
  ]) {
    assert.throws(() => parsePublicKey(text), { code: 'InvalidArgument' });
  }
});

test('parsePrivateKey reads PKCS #8 in PEM, and quotes nothing of what it cannot read', () => {
  const { privateKey } = keyPair();
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  assert.equal(keyIdOf(createPublicKey(parsePrivateKey(pem, 'key.pem'))), keyIdOf(createPublicKey(privateKey)));
  assert.throws(
    () => parsePrivateKey('secret', 'key.pem'),
    (error: Error) => !error.message.includes('secret') && error.cause === undefined,
  );
});

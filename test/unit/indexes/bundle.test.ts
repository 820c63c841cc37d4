import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BundledIndex, readBundle, writeBundle } from '../../../src/indexes/bundle.ts';
import { signIndex } from '../../../src/indexes/signature.ts';
import { keyPair, layerDigest, madeIndex } from '../../support/index-lab.ts';

const signed = madeIndex(layerDigest('b'), 4096);
const made = [
  madeIndex(layerDigest('a')),
  { ...signed, index: { ...signed.index, signature: signIndex(signed.index, keyPair().privateKey) } },
  madeIndex(layerDigest('c'), 3_000_000),
];

async function* items(): AsyncGenerator<BundledIndex> {
  for (const { index, bytes } of made) yield { index, content: pieces(bytes, 65_536) };
}

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function bundle(): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(writeBundle(items())));
}

async function read(bytes: Buffer): Promise<{ index: object; bytes: Buffer }[]> {
  const all = [];
  for await (const { index, content } of readBundle(pieces(bytes, 1000))) {
    all.push({ index, bytes: Buffer.concat(await Array.fromAsync(content)) });
  }
  return all;
}

test('readBundle gives what writeBundle was given, which writes the same bytes each time', async () => {
  const bytes = await bundle();
  assert.deepEqual(await bundle(), bytes);
  assert.deepEqual(await read(bytes), made);
});

test('readBundle goes on behind indexes that nobody reads', async () => {
  const layers = [];
  for await (const { index } of readBundle(pieces(await bundle(), 1000))) layers.push(index.layer);
  assert.deepEqual(
    layers,
    made.map(({ index }) => index.layer),
  );
});

test('readBundle refuses what is truncated, and what is something else', async () => {
  const bytes = await bundle();
  for (const length of [100, 512, 700, 1024, 1536, 5000, bytes.length - 2000]) {
    await assert.rejects(read(bytes.subarray(0, length)), { code: 'DataLoss' }, String(length));
  }
  const other = Buffer.from(bytes);
  other.write('md5-', 0);
  await assert.rejects(read(other), { code: 'DataLoss' });
  await assert.rejects(read(Buffer.from('hello')), { code: 'DataLoss' });
  assert.deepEqual(await read(Buffer.alloc(0)), []);
});

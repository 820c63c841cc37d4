import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { tocJson, tocTar } from '../../../../src/formats/estargz/toc-tar.ts';
import { compressedToc } from '../../../../src/formats/estargz/synthetic-toc.ts';
import { decodeHeader } from '../../../../src/formats/tar/header.ts';

test('tocJson gives back what tocTar took, even in pieces', () => {
  for (const pieces of [['{}'], ['{"a":', ' 1}'], ['x'.repeat(511), 'y'], ['z'.repeat(10_000)]]) {
    const tar = tocTar(pieces.map((piece) => Buffer.from(piece)));
    assert.equal(tar.length % 512, 0);
    const { name, size, typeflag } = decodeHeader(tar.subarray(0, 512), 0);
    assert.deepEqual([name, size, typeflag], ['stargz.index.json', pieces.join('').length, '0']);
    assert.equal(String(tocJson(gzipSync(tar))), pieces.join(''));
  }
});

test('compressedToc makes a gzip of a tar that any reader takes', () => {
  const { bytes } = compressedToc([{ name: 'a', type: 'reg' }]);
  assert.equal(decodeHeader(gunzipSync(bytes).subarray(0, 512), 0).name, 'stargz.index.json');
  assert.deepEqual(JSON.parse(String(tocJson(bytes))), { version: 1, entries: [{ name: 'a', type: 'reg' }] });
});

test('tocJson refuses a table of contents that is too long for the memory, before it inflates it', () => {
  const tar = gzipSync(tocTar([Buffer.alloc(5_000, ' ')]));
  assert.equal(tocJson(tar, 5_000).length, 5_000);
  assert.throws(() => tocJson(tar, 4_999), {
    code: 'ResourceExhausted',
    message: "The layer's table of contents has 5000 bytes: more than 4999",
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { footerBytes, readFooter } from '../../../../src/formats/estargz/footer.ts';
import { footer, legacyFooter } from '../../../support/estargz-blob.ts';

test('readFooter finds the table of contents of eStargz and of the older stargz', () => {
  assert.equal(footer(0x1234).length, footerBytes);
  assert.equal(gunzipSync(footer(0x1234)).length, 0);
  assert.equal(gunzipSync(legacyFooter(0x1234)).length, 0);
  assert.deepEqual(readFooter(footer(0x1234), 0x2000), { tocOffset: 0x1234, tocEnd: 0x2000 - 51 });
  const legacy = Buffer.concat([Buffer.from('toc!'), legacyFooter(0xabcdef)]);
  assert.equal(legacy.length, footerBytes);
  assert.deepEqual(readFooter(legacy, 0xffffff), { tocOffset: 0xabcdef, tocEnd: 0xffffff - 47 });
});

test('readFooter takes more of the blob than it needs', () => {
  const tail = Buffer.concat([Buffer.alloc(100_000, 7), footer(5)]);
  assert.deepEqual(readFooter(tail, tail.length), { tocOffset: 5, tocEnd: 100_000 });
});

test('readFooter takes the footer that Go writes with any compression hints', () => {
  const bytes = footer(9);
  bytes[8] = 2;
  bytes[9] = 3;
  assert.equal(readFooter(bytes, 1000).tocOffset, 9);
});

test('readFooter takes the digits that Go takes', () => {
  const upper = Buffer.from(footer(0xabcde).toString('latin1').replace('abcde', 'ABCDE'), 'latin1');
  assert.equal(readFooter(upper, 1_000_000).tocOffset, 0xabcde);
});

test('readFooter refuses an offset outside of the blob', () => {
  for (const offset of [1000 - 51, 1000, 2 ** 53 + 2, Number.MAX_SAFE_INTEGER]) {
    assert.throws(() => readFooter(footer(offset), 1000), { code: 'DataLoss' });
  }
});

test('readFooter says what a blob is that it cannot read', () => {
  const external = Buffer.concat([
    Buffer.alloc(5),
    Buffer.from('1f8b08040000000000ff15005347110', 'hex'),
    Buffer.from('\0STARGZEXTERNALTOC'),
    Buffer.from('010000ffff0000000000000000', 'hex'),
  ]);
  const refused = (bytes: Buffer, message: RegExp) =>
    assert.throws(() => readFooter(bytes, 1000), { code: 'FailedPrecondition', message });
  refused(external, /table of contents is in another image/);
  refused(Buffer.concat([Buffer.alloc(56), Buffer.from('GNUlInUx')]), /zstd:chunked/);
  refused(Buffer.concat([Buffer.alloc(32), Buffer.from('GnUlInUx')]), /zstd:chunked/);
  refused(Buffer.alloc(51), /no footer/);
  refused(Buffer.alloc(0), /no footer/);
  refused(footer(1).subarray(1), /no footer/);
  refused(Buffer.concat([footer(1), Buffer.alloc(1)]), /no footer/);
});

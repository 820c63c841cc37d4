import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c } from '../../../../src/fronts/erofs/crc32c.ts';

test('crc32c is the inverse of the checksum of RFC 3720, B.4', () => {
  assert.equal(crc32c(Buffer.alloc(32)) ^ -1, 0x8a9136aa | 0);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)) ^ -1, 0x62a8ab43 | 0);
  assert.equal(crc32c(Buffer.from('123456789')) ^ -1, 0xe3069283 | 0);
});

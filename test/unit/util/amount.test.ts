import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf, parseAmount } from '../../../src/util/amount.ts';

test('parseAmount reads bytes, sizes and shares', () => {
  assert.deepEqual(parseAmount(20_000), { bytes: 20_000 });
  assert.deepEqual(parseAmount('0'), { bytes: 0 });
  assert.deepEqual(parseAmount('20GB'), { bytes: 20e9 });
  assert.deepEqual(parseAmount('1.5 gib'), { bytes: 1.5 * 2 ** 30 });
  assert.deepEqual(parseAmount('7k'), { bytes: 7000 });
  assert.deepEqual(parseAmount('3B'), { bytes: 3 });
  assert.deepEqual(parseAmount('40%'), { share: 0.4 });
  for (const wrong of ['', 'x', '20 XB', '-1', '101%', '1e9', '20GBps', '9999999999999999TB', ' 1', '1,5GB']) {
    assert.equal(parseAmount(wrong), undefined, wrong);
  }
});

test('bytesOf takes a share of the whole, but not less than its least', () => {
  assert.equal(bytesOf({ bytes: 5 }, 100), 5);
  assert.equal(bytesOf({ share: 0.25 }, 100), 25);
  assert.equal(bytesOf({ share: 0.25, atLeastBytes: 30 }, 100), 30);
});

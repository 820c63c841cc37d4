import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chainIdsOf } from '../../../src/containerd/pull.ts';

test('chainIdsOf names snapshots by the chain ID of the specification', () => {
  const diffIds = ['a', 'b', 'c'].map((digit) => `sha256:${digit.repeat(64)}`);
  assert.deepEqual(chainIdsOf(diffIds), [
    `sha256:${'a'.repeat(64)}`,
    'sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c',
    'sha256:c1377126441fb2f5ec2c21ae2a60255331d639e830f0ee1b40a36e52d4c40588',
  ]);
  assert.deepEqual(chainIdsOf([]), []);
});

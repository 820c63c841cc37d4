import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnwrittenChunks } from '../../../../src/layers/store/unwritten-chunks.ts';

const mib = 1 << 20;

test('UnwrittenChunks keeps what is new, in 32 MiB', () => {
  const unwritten = new UnwrittenChunks();
  for (let row = 0; row < 100; row++) unwritten.add(1, row, new Uint8Array(4 * mib));
  const kept = Array.from({ length: 100 }, (_, row) => row).filter((row) => unwritten.get(1, row) !== undefined);
  assert.deepEqual(kept, [92, 93, 94, 95, 96, 97, 98, 99]);
  unwritten.add(1, 200, new Uint8Array(33 * mib));
  assert.equal(unwritten.get(1, 200), undefined);
  assert.ok(unwritten.get(1, 92), 'and what is too large drives nothing out');
});

test('UnwrittenChunks tells layers apart, and forgets one', () => {
  const unwritten = new UnwrittenChunks();
  unwritten.add(1, 7, Uint8Array.of(1));
  unwritten.add(11, 7, Uint8Array.of(2));
  unwritten.add(11, 7, Uint8Array.of(3));
  unwritten.forget(1);
  assert.equal(unwritten.get(1, 7), undefined);
  assert.deepEqual(unwritten.get(11, 7), Uint8Array.of(3));
});

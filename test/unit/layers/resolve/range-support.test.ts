import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RangeSupport } from '../../../../src/layers/resolve/range-support.ts';
import { MemoryBlob } from '../../../support/memory-blob.ts';

class CountedBlob extends MemoryBlob {
  asked = 0;
  fails = false;

  override describe(): Promise<{ size: number; takesRanges: boolean }> {
    this.asked++;
    return this.fails ? Promise.reject(new Error('no answer')) : super.describe();
  }
}

test('RangeSupport asks each registry once, for all callers at a time', async () => {
  const ranges = new RangeSupport();
  const blob = new CountedBlob(Buffer.alloc(10));
  const other = new CountedBlob(Buffer.alloc(10));
  other.takesRanges = false;
  const images = ['a.example/x:1', 'a.example/y:1', 'a.example/x:1'];
  assert.deepEqual(await Promise.all(images.map((image) => ranges.of(image, blob))), [true, true, true]);
  assert.equal(await ranges.of('b.example/x:1', other), false);
  assert.equal(await ranges.of('b.example/y:2', other), false);
  assert.deepEqual([blob.asked, other.asked], [1, 1]);
  const refused = ['a', 'b', 'c'].map((host) => ranges.isRefused(`${host}.example/x:1`));
  assert.deepEqual(await Promise.all(refused), [false, true, false]);
});

test('RangeSupport takes parts for granted if there is no answer, and believes what was seen', async () => {
  const ranges = new RangeSupport();
  const blob = new CountedBlob(Buffer.alloc(10));
  blob.fails = true;
  assert.equal(await ranges.of('a.example/x:1', blob), true);
  ranges.refuses('a.example/z:1');
  assert.equal(await ranges.of('a.example/x:1', blob), false);
  assert.equal(blob.asked, 1);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PartsLeft } from '../../../../src/registry/blob/parts.ts';
import fc from '../../../support/properties.ts';

const blob = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

test('PartsLeft gives each part its bytes however they come', () => {
  const cuts = fc
    .array(fc.integer({ min: 0, max: 256 }), { maxLength: 12 })
    .map((list) => list.toSorted((a, b) => a - b));
  fc.assert(
    fc.property(cuts, fc.integer({ min: 1, max: 100 }), (list, step) => {
      const parts = list.flatMap((start, i) => (i % 2 === 0 ? [{ start, end: list[i + 1] ?? 256 }] : []));
      const left = new PartsLeft(parts);
      const got = parts.map(() => Buffer.alloc(0));
      while (!left.isDone) {
        const { start } = left.wanted(1)[0]!;
        const offset = Math.max(start - (step % 7), 0);
        assert.ok(!left.leavesOut(offset));
        for (const { part, data } of left.take(offset, blob.subarray(offset, start + step)))
          got[part] = Buffer.concat([got[part]!, data]);
      }
      assert.deepEqual(
        got,
        parts.map(({ start, end }) => blob.subarray(start, end)),
      );
      assert.equal(
        left.taken,
        parts.reduce((sum, { start, end }) => sum + end - start, 0),
      );
    }),
  );
});

test('PartsLeft.wanted() names what is missing', () => {
  const left = new PartsLeft([
    { start: 0, end: 0 },
    { start: 2, end: 10 },
    { start: 20, end: 20 },
    { start: 30, end: 40 },
  ]);
  assert.deepEqual(
    Array.from(left.take(0, blob.subarray(0, 5)), ({ part }) => part),
    [1],
  );
  assert.deepEqual(left.wanted(9), [
    { start: 5, end: 10 },
    { start: 30, end: 40 },
  ]);
  assert.ok(left.leavesOut(6));
  assert.ok(!left.leavesOut(5));
  assert.deepEqual(
    Array.from(left.take(0, blob), ({ part }) => part),
    [1, 3],
  );
  assert.ok(left.isDone);
  assert.deepEqual(left.wanted(9), []);
});

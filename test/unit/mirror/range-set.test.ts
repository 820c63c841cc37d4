import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RangeSet } from '../../../src/mirror/range-set.ts';
import fc from '../../support/properties.ts';

const bytes = 40;

test('RangeSet has exactly the bytes that were added, in ranges that are ascending and apart', () => {
  const ranges = fc.array(fc.tuple(fc.nat(bytes), fc.nat(bytes)));
  fc.assert(
    fc.property(ranges, (added) => {
      const set = new RangeSet();
      const there = Array.from({ length: bytes + 2 }, () => false);
      for (const [start, end] of added) {
        set.add(start, end);
        there.fill(true, start, Math.max(start, end));
      }
      let last = -1;
      for (const [start, end] of set.ranges) {
        assert.ok(start > last && end > start);
        last = end;
      }
      assert.equal(set.bytes, there.filter(Boolean).length);
      assert.equal(set.length, set.ranges.length);
      for (let at = 0; at <= bytes; at++) {
        const end = there.indexOf(false, at);
        assert.equal(set.endOf(at), end);
        const next = there.findIndex((is, i) => i > at && is && there[i - 1] === false);
        assert.equal(set.nextStart(at), next < 0 ? Number.POSITIVE_INFINITY : next);
        assert.equal(set.covers(at, at + 2), there[at] === true && there[at + 1] === true);
      }
      assert.deepEqual(RangeSet.of(set.ranges)?.ranges, set.ranges);
    }),
  );
});

test('RangeSet is not made of what are no ranges', () => {
  for (const ranges of [
    [[3, 2]],
    [[2, 2]],
    [[-1, 2]],
    [[0, 1.5]],
    [
      [0, 5],
      [4, 6],
    ],
    [
      [5, 6],
      [0, 1],
    ],
    [[0, 2 ** 60]],
  ]) {
    assert.equal(RangeSet.of(ranges as [number, number][]), undefined);
  }
  assert.deepEqual(
    RangeSet.of([
      [0, 5],
      [6, 7],
    ])?.ranges,
    [
      [0, 5],
      [6, 7],
    ],
  ); // prettier-ignore
});

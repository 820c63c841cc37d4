import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  formatRanges,
  formatSuffixRange,
  parseContentLength,
  parseContentRange,
} from '../../../../src/registry/blob/ranges.ts';
import fc from '../../../support/properties.ts';

test('parseContentRange() reads ranges and unsatisfied ranges', () => {
  assert.deepEqual(parseContentRange('bytes 0-0/1'), { kind: 'range', start: 0, end: 1, size: 1 });
  assert.deepEqual(parseContentRange('bytes 5-9/100'), { kind: 'range', start: 5, end: 10, size: 100 });
  assert.deepEqual(parseContentRange('bytes 5-9/*'), { kind: 'range', start: 5, end: 10, size: undefined });
  assert.deepEqual(parseContentRange('bytes */100'), { kind: 'unsatisfied', size: 100 });
});

test('parseContentRange() refuses contradictions, overflow and other units', () => {
  const wrong = [
    undefined,
    '',
    'bytes',
    'bytes */*',
    'bytes 9-5/100',
    'bytes 0-100/100',
    'bytes -5/100',
    'bytes 0-/100',
    'items 0-5/100',
    'bytes 0-5/100, bytes 7-8/100',
    'bytes 0-9007199254740991/9007199254740992',
    'bytes 0-99999999999999999999/*',
    'bytes=0-5/100',
  ];
  for (const header of wrong) assert.equal(parseContentRange(header), undefined, header);
});

test('parseContentRange() is the inverse of writing one, and takes any text', () => {
  const size = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER - 1 });
  fc.assert(
    fc.property(size, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (total, part) => {
      const start = Math.floor(total * part);
      assert.deepEqual(parseContentRange(`bytes ${start}-${total - 1}/${total}`), {
        kind: 'range',
        start,
        end: total,
        size: total,
      });
    }),
  );
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'bytes 0123456789-/*'.split('')) })),
      (text) => void parseContentRange(text),
    ),
  );
});

test('formatRanges(), formatSuffixRange() and parseContentLength()', () => {
  assert.equal(formatRanges([{ start: 0, end: 1 }]), 'bytes=0-0');
  assert.equal(
    formatRanges([
      { start: 10, end: 20 },
      { start: 30, end: 31 },
    ]),
    'bytes=10-19,30-30',
  );
  assert.equal(formatSuffixRange(5), 'bytes=-5');
  assert.equal(parseContentLength('12'), 12);
  for (const header of [undefined, '', '-1', '1e3', '1.5', '12, 12', '99999999999999999'])
    assert.equal(parseContentLength(header), undefined);
});

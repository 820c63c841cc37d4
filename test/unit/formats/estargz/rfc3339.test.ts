import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRfc3339 } from '../../../../src/formats/estargz/rfc3339.ts';
import fc from '../../../support/properties.ts';

function parse(text: string): { seconds: number; nanoseconds: number } | undefined {
  const bytes = Buffer.from(`"${text}"`);
  const time = { seconds: 0, nanoseconds: 0 };
  return parseRfc3339(bytes, 1, bytes.length - 1, time) ? time : undefined;
}

test('parseRfc3339 reads times before and after 1970, with fractions and zones', () => {
  assert.deepEqual(parse('1970-01-01T00:00:00Z'), { seconds: 0, nanoseconds: 0 });
  assert.deepEqual(parse('2024-02-29T23:59:59.123456789Z'), { seconds: 1709251199, nanoseconds: 123456789 });
  assert.deepEqual(parse('1969-12-31T23:59:59.5Z'), { seconds: -1, nanoseconds: 500000000 });
  assert.deepEqual(parse('0001-01-01T00:00:00Z'), { seconds: -62135596800, nanoseconds: 0 });
  assert.deepEqual(parse('2024-01-01T02:00:00+02:00'), { seconds: 1704067200, nanoseconds: 0 });
  assert.deepEqual(parse('2023-12-31T18:30:00-05:30'), { seconds: 1704067200, nanoseconds: 0 });
  assert.deepEqual(parse('36812-02-20T00:36:16Z'), { seconds: 1099511627776, nanoseconds: 0 });
  assert.deepEqual(parse('2024-01-01T00:00:00.1234567899Z'), { seconds: 1704067200, nanoseconds: 123456789 });
});

test('parseRfc3339 agrees with Date', () => {
  fc.assert(
    fc.property(
      fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true }),
      (date) => {
        const ms = date.getTime();
        assert.deepEqual(parse(date.toISOString()), {
          seconds: Math.floor(ms / 1000),
          nanoseconds: (ms - Math.floor(ms / 1000) * 1000) * 1_000_000,
        });
      },
    ),
  );
});

test('parseRfc3339 refuses what is no time', () => {
  const wrong = ['', 'Z', '2024-01-01', '2024-01-01T00:00:00', '2024-01-01 00:00:00Z', '2024-13-01T00:00:00Z'];
  wrong.push('2024-00-01T00:00:00Z', '2024-01-32T00:00:00Z', '2024-01-01T24:00:00Z', '2024-01-01T00:60:00Z');
  wrong.push('2024-01-01T00:00:00.Z', '2024-01-01T00:00:00ZZ', '2024-01-01T00:00:00+0200', '24-01-01T00:00:00Z');
  wrong.push('-024-01-01T00:00:00Z', '2024-01-01T00:00:0', '123456789-01-01T00:00:00Z', 'x024-01-01T00:00:00Z');
  for (const text of wrong) assert.equal(parse(text), undefined, text);
});

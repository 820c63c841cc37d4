import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodePax, decodePaxNumber, decodePaxTime } from '../../../../src/formats/tar/pax.ts';
import { paxRecord } from '../../../support/tar-builder.ts';
import fc from '../../../support/properties.ts';

test('decodePax() reads any records that are written', () => {
  const bytes = fc.uint8Array({ maxLength: 200 }).map((data) => Buffer.from(data).toString('latin1'));
  const key = fc.stringMatching(/^[A-Za-z.]{1,20}$/);
  fc.assert(
    fc.property(fc.array(fc.tuple(key, bytes)), (records) => {
      const data = Buffer.concat(records.map(([k, v]) => paxRecord(k, v)));
      assert.deepEqual(decodePax(data, 0), new Map(records));
    }),
  );
});

test('decodePax() refuses malformed records', () => {
  for (const text of [
    'x',
    '6 a=b',
    '5 a=bb\n',
    '0 a=b\n',
    ' a=b\n',
    '5 =ab\n',
    '7 ab\nc=\n',
    '-6 a=b\n',
    '06 a=b\n5',
    '99999999 a=b\n',
  ]) {
    assert.throws(() => decodePax(Buffer.from(text), 512), /byte 512: a PAX header has a malformed record/, text);
  }
});

test('decodePaxTime() rounds down and keeps nanoseconds', () => {
  const cases: [string, number, number][] = [
    ['0', 0, 0],
    ['1.5', 1, 500_000_000],
    ['1700000000.123456789', 1_700_000_000, 123_456_789],
    ['1.1234567899', 1, 123_456_789],
    ['-1', -1, 0],
    ['-0.5', -1, 500_000_000],
    ['-0', 0, 0],
    ['5.', 5, 0],
    ['+1', 1, 0],
  ];
  for (const [text, seconds, nanoseconds] of cases)
    assert.deepEqual(decodePaxTime(text), { seconds, nanoseconds }, text);
  for (const text of ['', '.5', '1e9', '+-1', ' 1', '1.2.3', '9'.repeat(16)])
    assert.equal(decodePaxTime(text), undefined, text);
});

test('decodePaxNumber() takes safe integers', () => {
  assert.equal(decodePaxNumber('9007199254740991'), Number.MAX_SAFE_INTEGER);
  assert.deepEqual(['-1', '+1'].map(decodePaxNumber), [-1, 1]);
  for (const text of ['9007199254740992', '-', '--1', '', '1.0', '0x1'])
    assert.equal(decodePaxNumber(text), undefined, text);
});

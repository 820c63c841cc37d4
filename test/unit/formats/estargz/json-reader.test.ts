import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JsonReader, KeyTable } from '../../../../src/formats/estargz/json-reader.ts';
import fc from '../../../support/properties.ts';

const reader = (text: string) => new JsonReader(Buffer.from(text));

test('JsonReader reads objects and arrays with any space between', () => {
  const json = reader(' {"b" : 12 ,\n\t"unknown":[1,{"x":[]},"]"], "a":[ "x" , "y" ],"n":null}\r\n');
  const keys = new KeyTable(['a', 'b', 'n']);
  const seen: unknown[] = [];
  json.beginObject();
  for (let first = true; json.inObject(first); first = false) {
    const key = json.readKey(keys);
    if (json.readNull()) seen.push(key, null);
    else if (key === 1) seen.push('b', json.readInteger());
    else if (key === 0) {
      json.beginArray();
      for (let f = true; json.inArray(f); f = false) seen.push(json.readString());
    } else json.skipValue();
  }
  json.finish();
  assert.deepEqual(seen, ['b', 12, 'x', 'y', 2, null]);
});

test('JsonReader keeps the bytes of strings and decodes escapes to UTF-8', () => {
  const bytes = Buffer.concat([Buffer.from('"a'), Buffer.from([0xff, 0xc3, 0xa4]), Buffer.from('\\u00e4\\n"')]);
  assert.equal(new JsonReader(bytes).readString(), 'a\xff\xc3\xa4\xc3\xa4\n');
  assert.equal(reader('"\\u003cb\\u003e\\/\\"\\\\\\b\\f\\r\\t"').readString(), '<b>/"\\\b\f\r\t');
  assert.equal(reader('"\\ud83d\\ude00!"').readString(), '\xf0\x9f\x98\x80!');
  assert.equal(reader('"\u{fffd}"').readString(), '\xef\xbf\xbd');
  assert.equal(reader('""').readString(), '');
});

test('JsonReader reads what JSON.stringify writes', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed()),
      (text) => {
        assert.equal(Buffer.from(reader(JSON.stringify(text)).readString(), 'latin1').toString(), text);
      },
    ),
  );
});

test('JsonReader skips any value that JSON.stringify writes, and nothing else', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      const json = reader(`[${JSON.stringify(value)}, 7]`);
      json.beginArray();
      assert.equal(json.inArray(true), true);
      json.skipValue();
      assert.equal(json.inArray(false), true);
      assert.equal(json.readInteger(), 7);
      assert.equal(json.inArray(false), false);
      json.finish();
    }),
  );
});

test('JsonReader refuses a name that its writer has lost', () => {
  for (const text of ['"a\\ufffdb"', '"\\uFFFD"', '"\\ud800"', '"\\udc00x"', '"\\ud83d\\u0041"']) {
    assert.throws(() => reader(text).readString(), { code: 'FailedPrecondition', message: /it is not UTF-8/ });
  }
});

test('JsonReader reads integers and refuses other numbers', () => {
  assert.equal(reader('9007199254740991').readInteger(), 9007199254740991);
  assert.equal(reader('-5').readInteger(), -5);
  assert.ok(Object.is(reader('-0').readInteger(), 0));
  for (const text of ['9007199254740992', '1.5', '1e3', '-', 'x', '', '"1"', '1'.repeat(10_000), '01', '-00']) {
    assert.throws(() => reader(text).readInteger(), { code: 'DataLoss' }, text);
  }
});

test('JsonReader refuses what is not JSON', () => {
  const wrong = ['"', '"\\', '"\\"', '"\\x"', '"\\u12"', '"\\u12g4"'];
  for (const text of wrong) assert.throws(() => reader(text).readString(), { code: 'DataLoss' }, text);
  const values = [
    '',
    '[',
    '{',
    '[1',
    '{"a"',
    '{"a":',
    '{"a":1',
    '[1 2]',
    '[,1]',
    '{1:2}',
    '{"a" 1}',
    '}',
    ']',
    '[}',
    '*',
  ];
  for (const text of values) assert.throws(() => reader(text).skipValue(), { code: 'DataLoss' }, text);
  assert.throws(() => reader('{} x').finish(), { code: 'DataLoss' });
});

test('JsonReader bounds how deep a skipped value is nested', () => {
  reader('['.repeat(64) + ']'.repeat(64)).skipValue();
  assert.throws(() => reader('['.repeat(100_000)).skipValue(), {
    code: 'DataLoss',
    message: /nested more than 64 deep/,
  });
});

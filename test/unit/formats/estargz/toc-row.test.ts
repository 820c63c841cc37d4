import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JsonReader } from '../../../../src/formats/estargz/json-reader.ts';
import { readTocRow, TocRow } from '../../../../src/formats/estargz/toc-row.ts';
import { maxTextBytes } from '../../../../src/formats/limits.ts';

function read(json: string, row = new TocRow()): TocRow {
  readTocRow(new JsonReader(Buffer.from(json, 'latin1')), row);
  return row;
}

const digest = `sha256:${'ab'.repeat(32)}`;

test('readTocRow reads every member of a row', () => {
  const json = `{"name":"etc/passwd","type":"reg","size":9007199254740991,"modtime":"2020-01-02T03:04:05.000000006Z",
    "linkName":"x","mode":33261,"uid":4294967295,"gid":7,"offset":1,"innerOffset":2,"devMajor":4095,"devMinor":1048575,
    "xattrs":{"user.a":"YWI="},"digest":"${digest}","chunkOffset":3,"chunkSize":4,"chunkDigest":"${digest}"}`;
  const row = read(json);
  assert.deepEqual(
    [row.name, row.type, row.size, row.linkName, row.mode, row.uid, row.gid],
    ['etc/passwd', 'reg', Number.MAX_SAFE_INTEGER, 'x', 0o755, 0xffff_ffff, 7],
  );
  assert.deepEqual(
    [row.offset, row.innerOffset, row.devMajor, row.devMinor, row.chunkOffset, row.chunkSize],
    [1, 2, 4095, 1_048_575, 3, 4],
  );
  assert.deepEqual([row.seconds, row.nanoseconds], [Date.UTC(2020, 0, 2, 3, 4, 5) / 1000, 6]);
  assert.equal(String(row.xattrs?.get('user.a')), 'ab');
  assert.ok(json.startsWith('ab'.repeat(32), row.digest) && json.startsWith('ab'.repeat(32), row.chunkDigest));
  assert.notEqual(row.digest, row.chunkDigest);
});

test('readTocRow leaves nothing of the row before', () => {
  const row = read(
    `{"name":"a","type":"dir","xattrs":{"user.a":""},"modtime":"2020-01-02T03:04:05Z","digest":"${digest}"}`,
  );
  read('{}', row);
  const empty = new TocRow();
  for (const member of ['name', 'type', 'seconds', 'xattrs', 'digest', 'mode'] as const) {
    assert.equal(row[member], empty[member], member);
  }
});

test('readTocRow takes members in any case, the last of several, and ignores others, as encoding/json does', () => {
  const row = read('{"NAME":"a","more":{"deep":[1,{"x":null}]},"uid":1,"UID":2,"gid":3,"gid":null}');
  assert.deepEqual([row.name, row.uid, row.gid], ['a', 2, 3]);
  assert.equal(read('{"xattrs":{"user.a":""},"xattrs":null}').xattrs, undefined);
  assert.deepEqual([...(read('{"xattrs":{"a":"YQ=="},"xattrs":{"b":null}}').xattrs?.keys() ?? [])], ['a', 'b']);
});

test('readTocRow refuses what is out of range or of another kind, and says what', () => {
  const cases = [
    ['{"size":-1}', /"size" is -1: it must be 0 to/],
    ['{"size":9007199254740992}', /must|large|integer/i],
    ['{"uid":4294967296}', /"uid" is 4294967296/],
    ['{"devMajor":4096}', /"devMajor" is 4096: it must be 0 to 4095/],
    ['{"devMinor":1048576}', /"devMinor"/],
    ['{"type":"socket"}', /"type" is "socket"/],
    ['{"modtime":"yesterday"}', /"modtime" is "yesterday"/],
    ['{"digest":"md5:00"}', /only sha256 is supported/],
    ['{"xattrs":{"user.a":"?"}}', /"user.a" is not in base64/],
    ['{"name":1}', /./],
    ['[]', /./],
    ['{"name":"a"', /./],
  ] as const;
  for (const [json, message] of cases) assert.throws(() => read(json), { code: 'DataLoss', message }, json);
});

test('TocRow counts names and attributes of all rows', () => {
  const row = new TocRow();
  row.count(maxTextBytes - 3);
  read('{"name":"abc"}', row);
  assert.throws(() => read('{"name":"d"}', row), { code: 'ResourceExhausted' });
  assert.throws(() => read('{"xattrs":{"":""}}', row), { code: 'ResourceExhausted' });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TarEntry } from '../../../src/formats/tar/entry.ts';
import { cleanName, rowOf, TocBuilder } from '../../../src/convert/toc-entry.ts';

const entry: TarEntry = {
  type: 'reg',
  path: 'a',
  linkTarget: '',
  mode: 0,
  uid: 0,
  gid: 0,
  userName: '',
  groupName: '',
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  size: 0,
  devMajor: 0,
  devMinor: 0,
  xattrs: undefined,
  globalHeaders: Buffer.alloc(0),
  headers: Buffer.alloc(0),
};

function encode(...entries: Partial<TarEntry>[]): string {
  const toc = new TocBuilder();
  for (const some of entries) toc.add([rowOf({ ...entry, ...some })]);
  return Buffer.concat([...toc.encode(() => 0)]).toString('latin1');
}

function modtimeOf(mtimeSeconds: number, mtimeNanoseconds = 0): string {
  return JSON.parse(encode({ mtimeSeconds, mtimeNanoseconds })).entries[0].modtime;
}

test('TocBuilder writes the JSON as Go does', () => {
  const xattrs = new Map([
    ['user.b', Buffer.from([0, 255])],
    ['user.a', Buffer.alloc(0)],
  ]);
  const json = encode(
    { path: 'd/', type: 'dir', mode: 0o755, mtimeSeconds: 1e9, userName: 'root', groupName: 'root' },
    {
      path: 'd/null',
      type: 'char',
      mode: 0o666,
      mtimeSeconds: 1e9,
      userName: 'root',
      groupName: 'wheel',
      devMajor: 1,
      devMinor: 3,
    },
    { path: 'l', type: 'symlink', linkTarget: 'd', uid: 7, xattrs, userName: 'seven' },
  );
  assert.equal(
    json,
    `{
	"version": 1,
	"entries": [
		{
			"name": "d/",
			"type": "dir",
			"modtime": "2001-09-09T01:46:40Z",
			"mode": 493,
			"userName": "root",
			"groupName": "root"
		},
		{
			"name": "d/null",
			"type": "char",
			"modtime": "2001-09-09T01:46:40Z",
			"mode": 438,
			"groupName": "wheel",
			"devMajor": 1,
			"devMinor": 3
		},
		{
			"name": "l",
			"type": "symlink",
			"modtime": "1970-01-01T00:00:00Z",
			"linkName": "d",
			"uid": 7,
			"userName": "seven",
			"xattrs": {
				"user.a": "",
				"user.b": "AP8="
			}
		}
	]
}`,
  );
  assert.deepEqual(JSON.parse(encode()), { version: 1, entries: [] });
});

test('TocBuilder keeps the bytes of names', () => {
  const name = 'q"b\\n\n\x00\x1f\x7f<&>\xc3\xa9\xff';
  const json = encode({ path: name });
  assert.equal(JSON.parse(json).entries[0].name, name);
  assert.ok(json.includes('\xc3\xa9\xff'));
});

test('TocBuilder writes times with nanoseconds, before 1970 and at the ends of what RFC 3339 has', () => {
  assert.equal(modtimeOf(0), '1970-01-01T00:00:00Z');
  assert.equal(modtimeOf(0, 120_000_000), '1970-01-01T00:00:00.12Z');
  assert.equal(modtimeOf(-2, 750_000_000), '1969-12-31T23:59:58.75Z');
  assert.equal(modtimeOf(1e9, 1), '2001-09-09T01:46:40.000000001Z');
  assert.equal(modtimeOf(-Number.MAX_SAFE_INTEGER), '0001-01-01T00:00:00Z');
  assert.equal(modtimeOf(Number.MAX_SAFE_INTEGER), '9999-12-31T23:59:59Z');
});

test('TocBuilder leaves out an entry whose name comes again', () => {
  const json = JSON.parse(encode({ path: './a', mode: 1 }, { path: 'b' }, { path: 'a', mode: 2 }));
  assert.deepEqual(
    json.entries.map((row: { name: string; mode?: number }) => [row.name, row.mode]),
    [
      ['b', undefined],
      ['a', 2],
    ],
  );
});

test('cleanName() compares names as readers do', () => {
  for (const [name, clean] of [
    ['./', ''],
    ['/', ''],
    ['./a//b/', 'a/b'],
    ['/a/./b/../c', 'a/c'],
    ['../../a', 'a'],
    ['a...b', 'a...b'],
  ] as const) {
    assert.equal(cleanName(name), clean, name);
  }
});

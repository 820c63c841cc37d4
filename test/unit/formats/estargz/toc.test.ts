import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { LazypullError } from '../../../../src/errors.ts';
import { readToc, type TocContext } from '../../../../src/formats/estargz/toc.ts';
import type { LayerIndex } from '../../../../src/formats/layer-index.ts';
import { estargzBlob, footer, tocOf, tocOfJson } from '../../../support/estargz-blob.ts';
import fc from '../../../support/properties.ts';

const mib = 1024 * 1024;
const digestOf = (text: string) => `sha256:${hash('sha256', text)}`;

function read(rows: readonly object[], context: Partial<TocContext> = {}): LayerIndex {
  const { toc, digest } = tocOf(rows);
  return readToc(toc, { tocDigest: digest, blobSize: 10_000_000, tocOffset: 9_000_000, ...context });
}

function readJson(json: string | Buffer, tocOffset = 9_000_000): LayerIndex {
  const { toc, digest } = tocOfJson(Buffer.from(json));
  return readToc(toc, { tocDigest: digest, blobSize: 10_000_000, tocOffset });
}

const refuses = (rows: readonly object[], code: string, message: RegExp = /./) =>
  assert.throws(
    () => read(rows),
    (error) => {
      assert.ok(error instanceof LazypullError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    },
  );

function chunksOf({ entries, chunks }: LayerIndex, entry = 0) {
  const { firstChunk, chunkCount } = entries[entry]!;
  return Array.from({ length: chunkCount }, (_, i) => {
    const row = firstChunk + i;
    return [chunks.streamOffset[row], chunks.streamEnd[row], chunks.innerOffset[row], chunks.size[row]];
  });
}

test('readToc reads the entries of every type with their attributes', () => {
  const { entries, chunks } = read([
    { name: './', type: 'dir', mode: 0o40755, modtime: '2024-01-01T00:00:00Z' },
    {
      name: 'f',
      type: 'reg',
      size: 3,
      mode: 0o104755,
      uid: 100_000,
      gid: 4_294_967_295,
      modtime: '1960-01-01T00:00:00.000000001Z',
      userName: 'x',
      NumLink: 1,
      offset: 100,
      digest: digestOf('abc'),
      xattrs: { 'security.capability': 'AQAAAv8=', 'user.empty': '' },
    },
    { name: 'l', type: 'symlink', linkName: '\xff/target', mode: 0o777, size: 9 },
    { name: 'h', type: 'hardlink', linkName: './f' },
    { name: 'c', type: 'char', devMajor: 1, devMinor: 3 },
    { name: 'b', type: 'block', devMajor: 259, devMinor: 70_000 },
    { name: 'p', type: 'fifo', devMajor: 5 },
    { name: 'e', type: 'reg', offset: 7, digest: digestOf('') },
  ]);
  assert.deepEqual(
    entries.map(({ path, type, linkTarget, devMajor, devMinor, size }) => [
      path,
      type,
      linkTarget,
      devMajor,
      devMinor,
      size,
    ]),
    [
      ['./', 'dir', '', 0, 0, 0],
      ['f', 'reg', '', 0, 0, 3],
      ['l', 'symlink', '\xff/target', 0, 0, 0],
      ['h', 'hardlink', './f', 0, 0, 0],
      ['c', 'char', '', 1, 3, 0],
      ['b', 'block', '', 259, 70_000, 0],
      ['p', 'fifo', '', 0, 0, 0],
      ['e', 'reg', '', 0, 0, 0],
    ],
  );
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs } = entries[1]!;
  assert.deepEqual([mode, uid, gid], [0o4755, 100_000, 4_294_967_295]);
  assert.deepEqual([mtimeSeconds, mtimeNanoseconds], [-315_619_200, 1]);
  assert.deepEqual(
    xattrs,
    new Map([
      ['security.capability', Buffer.from('01000002ff', 'hex')],
      ['user.empty', Buffer.alloc(0)],
    ]),
  );
  assert.equal(chunks.length, 1);
  assert.deepEqual(Buffer.from(chunks.digest.subarray(0, 32)), hash('sha256', 'abc', 'buffer'));
});

test('readToc ends each stream where the next one starts, in whatever order they come', () => {
  const digest = digestOf('x');
  const reg = (offset: number, innerOffset = 0) => ({ name: 'f', type: 'reg', size: 5, offset, innerOffset, digest });
  const index = read([reg(500), reg(100), reg(300, 10), reg(300), reg(8_999_999)]);
  const streams = [0, 1, 2, 3, 4].map((i) => chunksOf(index, i)[0]);
  assert.deepEqual(streams, [
    [500, 8_999_999, 0, 5],
    [100, 300, 0, 5],
    [300, 500, 10, 5],
    [300, 500, 0, 5],
    [8_999_999, 9_000_000, 0, 5],
  ]);
});

test('readToc joins a file with the chunk rows that follow it', () => {
  const digest = digestOf('whole');
  const chunkDigest = digestOf('chunk');
  const index = read([
    { name: 'f', type: 'reg', size: 10, offset: 100, chunkSize: 4, digest, chunkDigest },
    { name: 'another name', type: 'chunk', offset: 200, chunkOffset: 4, chunkSize: 4, chunkDigest },
    { type: 'chunk', offset: 200, innerOffset: 512, chunkOffset: 8, chunkDigest },
    { name: 'exact', type: 'reg', size: 8, offset: 300, chunkSize: 4, chunkDigest },
    { name: 'exact', type: 'chunk', offset: 400, chunkOffset: 4, chunkSize: 4, chunkDigest },
    { name: 'open', type: 'reg', size: 8, offset: 500, chunkDigest },
    { name: 'open', type: 'chunk', offset: 600, chunkOffset: 5, chunkDigest },
  ]);
  assert.deepEqual(
    index.entries.map(({ path }) => path),
    ['f', 'exact', 'open'],
  );
  assert.deepEqual(chunksOf(index, 0), [
    [100, 200, 0, 4],
    [200, 300, 0, 4],
    [200, 300, 512, 2],
  ]);
  assert.deepEqual(chunksOf(index, 1).length, 2);
  assert.deepEqual(
    chunksOf(index, 2).map((chunk) => chunk[3]),
    [5, 3],
  );
});

test('readToc refuses chunks that do not make up their file', () => {
  const chunkDigest = digestOf('chunk');
  const file = (size: number, first: object, ...chunks: object[]) => [
    { name: 'f', type: 'reg', size, offset: 1, chunkDigest, ...first },
    ...chunks.map((chunk) => ({ type: 'chunk', offset: 2, chunkDigest, ...chunk })),
  ];
  refuses(file(10, { chunkSize: 4 }), 'DataLoss', /does not end where/);
  refuses(file(10, { chunkSize: 4 }, { chunkOffset: 5 }), 'DataLoss');
  refuses(file(10, { chunkSize: 4 }, { chunkOffset: 3 }), 'DataLoss');
  refuses(file(10, { chunkSize: 4 }, { chunkOffset: 4, chunkSize: 5 }), 'DataLoss');
  refuses(file(10, { chunkSize: 4 }, { chunkOffset: 4, chunkSize: 7 }), 'DataLoss');
  refuses(file(10, { chunkSize: 4 }, { chunkOffset: 4, chunkSize: 6 }, { chunkOffset: 10 }), 'DataLoss');
  refuses(file(10, { chunkSize: 4 }, { chunkOffset: 4 }, { chunkOffset: 4 }), 'DataLoss');
  refuses(file(10, { chunkOffset: 1 }), 'DataLoss', /not at its start/);
  refuses(file(0, {}, { chunkOffset: 0 }), 'DataLoss', /follows no file/);
  refuses([{ type: 'chunk', offset: 1, chunkDigest }], 'DataLoss', /follows no file/);
  refuses([...file(4, {}), { name: 'd', type: 'dir' }, { type: 'chunk', chunkOffset: 4 }], 'DataLoss');
});

test('readToc refuses chunks that nobody can verify, or that are too large', () => {
  const digest = digestOf('x');
  refuses([{ name: 'f', type: 'reg', size: 1, offset: 1 }], 'FailedPrecondition', /has no digest/);
  const second = { type: 'chunk', offset: 2, chunkOffset: 1 };
  refuses([{ name: 'f', type: 'reg', size: 2, chunkSize: 1, digest }, second], 'FailedPrecondition');
  for (const wrong of ['sha512:00', 'sha256:', `sha256:${'0'.repeat(63)}`, `sha256:${'g'.repeat(64)}`, '00']) {
    refuses([{ name: 'f', type: 'reg', size: 1, offset: 1, chunkDigest: wrong }], 'DataLoss', /digest/);
  }
  refuses([{ name: 'f', type: 'reg', size: 65 * mib, digest }], 'ResourceExhausted', /limit/);
  refuses([{ name: 'f', type: 'reg', size: 1, innerOffset: 300 * mib, digest }], 'ResourceExhausted');
});

test('readToc refuses numbers out of range, and data behind the table of contents', () => {
  const digest = digestOf('x');
  const reg = { name: 'f', type: 'reg', size: 1, digest };
  for (const offset of [9_000_000, 9_000_001, Number.MAX_SAFE_INTEGER]) {
    refuses([{ ...reg, offset }], 'DataLoss', /past the end/);
  }
  for (const key of ['size', 'offset', 'innerOffset', 'chunkOffset', 'chunkSize', 'uid', 'gid', 'mode', 'devMajor']) {
    refuses([{ ...reg, [key]: -1 }], 'DataLoss', /it must be 0 to/);
    refuses([{ ...reg, [key]: 1e30 }], 'DataLoss');
    refuses([{ ...reg, [key]: 1.5 }], 'DataLoss');
    refuses([{ ...reg, [key]: '1' }], 'DataLoss');
  }
  refuses([{ ...reg, uid: 2 ** 32 }], 'DataLoss');
  refuses([{ ...reg, devMajor: 4096 }], 'DataLoss');
  refuses([{ ...reg, devMinor: 2 ** 20 }], 'DataLoss');
  refuses([{ ...reg, size: 2 ** 53 }], 'DataLoss');
});

test('readToc refuses unknown types, times, attributes and lost names', () => {
  refuses([{ name: 'f' }], 'DataLoss', /has no type/);
  refuses([{ name: 'f', type: 'socket' }], 'DataLoss', /"type" is "socket"/);
  refuses([{ name: 'f', type: 'dir', modtime: 'yesterday' }], 'DataLoss', /"modtime" is "yesterday"/);
  refuses([{ name: 'f', type: 'dir', xattrs: { 'user.a': '*' } }], 'DataLoss', /base64/);
  refuses([{ name: 'f', type: 'dir', xattrs: [] }], 'DataLoss');
  for (const member of ['"name":"\\ufffd"', '"name":"a","linkName":"\\ufffd"', '"xattrs":{"user.\\ufffd":""}']) {
    assert.throws(() => readJson(`{"entries":[{"type":"symlink",${member}}]}`), { code: 'FailedPrecondition' });
  }
  readJson('{"entries":[{"type":"dir","name":"a","userName":"\\ufffd"}]}');
});

/** What Go 1.26 makes of these texts with the types of stargz-snapshotter 0.18. */
test('readToc reads members whose names differ in case, are escaped or come again as Go does', () => {
  const dir = (json: string) => {
    const [entry, ...others] = readJson(json).entries;
    assert.deepEqual(others, []);
    return [entry?.path, entry?.type, entry?.linkTarget, entry?.uid];
  };
  for (const [json, name, type, linkTarget, uid] of [
    ['{"Entries":[{"NAME":"a","tYpe":"dir"}],"VERSION":1}', 'a', 'dir', '', 0],
    ['{"entrie\u017f":[{"name":"a","type":"symlink","lin\u212aname":"t"}]}', 'a', 'symlink', 't', 0],
    ['{"entrie\\u017f":[{"name":"a","type":"dir"}]}', 'a', 'dir', '', 0],
    ['{"\\u0065ntries":[{"n\\u0061me":"a","type":"dir"}]}', 'a', 'dir', '', 0],
    ['{"entries":[{"name":"a","Name":"b","type":"reg","type":"dir","uid":3,"UID":null}]}', 'b', 'dir', '', 3],
    ['{"entries":[{"name":"a","type":"dir","na me":1,"ENTRIES":2,"\\ud800":1}]}', 'a', 'dir', '', 0],
  ] as const) {
    assert.deepEqual(dir(json), [name, type, linkTarget, uid], json);
  }
  const xattrs = (members: string) =>
    readJson(`{"entries":[{"name":"a","type":"dir","xattrs":{"a":"YQ=="},${members}}]}`).entries[0]!.xattrs;
  assert.deepEqual([...(xattrs('"Xattrs":{"b":"Yg=="}')?.keys() ?? [])], ['a', 'b']);
  assert.equal(xattrs('"XATTRS":null'), undefined);
});

test('readToc never takes a table for an empty one that is not, or is not known to be', () => {
  for (const [json, code] of [
    ['null', 'DataLoss'],
    ['[]', 'DataLoss'],
    ['{"entries":[null]}', 'DataLoss'],
    ['{"entries":[{"type":"dir","name":"a"}],"Entries":null}', 'DataLoss'],
    ['{"entries":[{"type":"dir","name":"a"}],"Entries":[]}', 'DataLoss'],
    ['{"entries":{}}', 'DataLoss'],
    ['{"version":2}', 'FailedPrecondition'],
    ['{"Version":2,"entries":[]}', 'FailedPrecondition'],
    ['{}', 'FailedPrecondition'],
    ['{"version":1,"entries":null}', 'FailedPrecondition'],
    ['{"entries":[]}', 'FailedPrecondition'],
    ['{"entry":[{"type":"dir","name":"a"}]}', 'FailedPrecondition'],
  ] as const) {
    assert.throws(() => readJson(json), { code }, json);
  }
});

test('readToc takes members in any order, unknown ones, nulls and empty tables of empty layers', () => {
  const emptyTarBytes = gzipSync(Buffer.alloc(10_240)).length;
  assert.deepEqual(readJson('{}', emptyTarBytes).entries, []);
  assert.deepEqual(readJson('{"version":1,"entries":null}', emptyTarBytes).entries, []);
  assert.deepEqual(readJson('{"entries":[],"version":1}\n', emptyTarBytes).entries, []);
  const { entries } = readJson(
    '{"x":{"y":[{}]},"entries":[{"xattrs":null,"later":{"a":[1]},"type":"dir","modtime":"","digest":"","name":"d\\u003e"}]}',
  );
  assert.equal(entries[0]!.path, 'd>');
  assert.equal(entries[0]!.xattrs, undefined);
  assert.equal(entries[0]!.mtimeSeconds, 0);
});

test('readToc verifies the digest before it reads', () => {
  const { toc } = tocOf([]);
  const context = { tocDigest: digestOf('something else'), blobSize: 1000, tocOffset: 100 };
  assert.throws(() => readToc(toc, context), { code: 'DataLoss', message: /Wrong digest/ });
  assert.throws(() => readToc(toc, { ...context, tocDigest: '' }), { code: 'InvalidArgument' });
  assert.throws(() => readToc(toc, { ...context, tocDigest: 'sha512:00' }), { code: 'InvalidArgument' });
  assert.throws(() => readToc(toc, { ...context, tocOffset: 1000 }), { code: 'DataLoss' });
});

test('readToc does not mind the footer behind the table, nor the end of its checksum missing', () => {
  const { toc, digest } = tocOf([{ name: 'd', type: 'dir' }]);
  const context = { tocDigest: digest, blobSize: 1000, tocOffset: 100 };
  assert.equal(readToc(Buffer.concat([toc, footer(100)]), context).entries.length, 1);
  assert.equal(readToc(toc.subarray(0, -4), context).entries.length, 1);
});

test('readToc takes a table in several gzip members, with PAX and GNU headers before it', () => {
  const json = Buffer.from('{"version":1,"entries":[{"name":"d","type":"dir"}]}');
  const block = (name: string, type: string, bytes: number) => {
    const header = Buffer.alloc(512);
    header.write(name);
    header.write(`${bytes.toString(8).padStart(11, '0')} `, 124);
    header.write(type, 156);
    return header;
  };
  const padded = (text: string) => Buffer.from(text.padEnd(512, '\0'));
  const context = { tocDigest: digestOf(json.toString()), blobSize: 1000, tocOffset: 100 };
  const pax = `9 x=yyyy\n11 size=${json.length}\n`;
  const variants = [
    [block('./stargz.index.json', '0', json.length)],
    [block('p', 'x', pax.length), padded(pax), block('stargz.index.json', '0', 0)],
    [block('long', 'L', 17), padded('stargz.index.json'), block('stargz.ind', '0', json.length)],
  ];
  for (const headers of variants) {
    const members = [...headers, json].map((part) => gzipSync(part));
    assert.equal(readToc(Buffer.concat(members), context).entries.length, 1);
  }
  const other = gzipSync(Buffer.concat([block('passwd', '0', json.length), json]));
  assert.throws(() => readToc(other, context), { code: 'DataLoss', message: /it is a file called "passwd"/ });
});

test('readToc refuses a damaged or truncated table', () => {
  const { toc, context } = estargzBlob([
    { path: 'a', type: 'reg', content: Buffer.from('hello') },
    { path: 'b', type: 'dir' },
  ]);
  for (let length = 0; length < toc.length - 30; length += 7) {
    assert.throws(() => readToc(toc.subarray(0, length), context), { code: 'DataLoss' });
  }
  for (let at = 0; at < toc.length - 30; at++) {
    const damaged = Buffer.from(toc);
    damaged[at]! ^= 0x10;
    try {
      readToc(damaged, context);
    } catch (error) {
      assert.ok(error instanceof LazypullError, String(error));
      assert.equal(error.code, 'DataLoss');
    }
  }
});

test('readToc reads or refuses any JSON, and never fails otherwise', () => {
  const keys = ['name', 'type', 'size', 'offset', 'chunkSize', 'chunkOffset', 'digest', 'xattrs', 'modtime', 'mode'];
  const value = fc.oneof(
    fc.integer(),
    fc.double(),
    fc.constantFrom('reg', 'dir', 'chunk', 'hardlink', digestOf('x'), 'a/b', '\\', null),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const row = fc.dictionary(fc.constantFrom(...keys), value);
  fc.assert(
    fc.property(fc.array(row), fc.nat(200), (rows, cut) => {
      for (const json of [{ entries: rows }, rows].map((each) => Buffer.from(JSON.stringify(each)))) {
        try {
          readJson(cut < json.length ? json.subarray(0, -cut || undefined) : json);
        } catch (error) {
          assert.ok(error instanceof LazypullError, String(error));
        }
      }
    }),
  );
});

test('readToc bounds the table of contents and its rows', () => {
  const bomb = tocOfJson(Buffer.alloc(161 * mib, ' '), 1);
  const context = { tocDigest: bomb.digest, blobSize: 1e9, tocOffset: 1 };
  assert.throws(() => readToc(bomb.toc, context), { code: 'ResourceExhausted', message: /table of contents has/ });

  const empty = gzipSync(tocHeader(150 * mib));
  assert.throws(() => readToc(empty, context), { code: 'DataLoss', message: /bytes cannot hold its 157286400/ });

  const lying = gzipSync(Buffer.concat([tocHeader(10), Buffer.alloc(20 * mib)]));
  assert.throws(() => readToc(lying, context), { code: 'DataLoss' });

  const rows = Buffer.from(`{"entries":[${'{"name":"a","type":"dir"},'.repeat(500_001).slice(0, -1)}]}`);
  const many = tocOfJson(rows, 1);
  assert.throws(() => readToc(many.toc, { ...context, tocDigest: many.digest }), {
    code: 'ResourceExhausted',
    message: /more than 500000 rows/,
  });
});

function tocHeader(bytes: number): Buffer {
  const header = Buffer.alloc(512);
  header.write('stargz.index.json');
  header.write(bytes.toString(8).padStart(11, '0'), 124);
  return header;
}

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { writeEstargz } from '../../../../src/convert/estargz-writer.ts';
import { GzipPool } from '../../../../src/convert/gzip-pool.ts';
import { TarReader } from '../../../../src/formats/tar/reader.ts';
import { run } from '../../../support/program.ts';
import {
  buildEntry,
  buildTar,
  inPieces,
  metadataEntry,
  paxRecord,
  type TarSpec,
} from '../../../support/tar-builder.ts';

const pool = new GzipPool(1);
let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lazypull-test-'));
});
after(async () => {
  await rm(directory, { recursive: true });
  await pool[Symbol.asyncDispose]();
});

/** The file that a tar of one entry and another one after it has, and the entry. */
async function readSparse(tar: Buffer) {
  const reader = new TarReader(inPieces(tar, 700));
  const entry = (await reader.next()) ?? assert.fail();
  const parts: Buffer[] = [];
  for (let part = await reader.readPayload(900); part.length > 0; part = await reader.readPayload(900))
    parts.push(part);
  const padding = await reader.readPadding();
  const next = await reader.next();
  return { entry, content: Buffer.concat(parts), padding, next: next?.path };
}

function fileOf(pieces: Readonly<Record<number, string>>, size: number): Buffer {
  const content = Buffer.alloc(size);
  for (const [offset, text] of Object.entries(pieces)) content.write(text, Number(offset));
  return content;
}

const after1 = { name: 'after' };
const major = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' };

function inData(map: string, data: string, size: number, more: Partial<TarSpec> = {}): Buffer {
  const head = Buffer.alloc(Math.ceil(map.length / 512) * 512);
  head.write(map);
  const pax = { ...major, 'GNU.sparse.name': 'f', 'GNU.sparse.realsize': String(size) };
  return buildTar([
    { name: 'GNUSparseFile.0/f', pax, data: Buffer.concat([head, Buffer.from(data)]), ...more },
    after1,
  ]);
}

test('TarReader gives sparse files of GNU tar, in each of its formats, all their bytes, and any program can unpack them', async () => {
  const source = join(directory, 'source');
  await mkdir(source);
  const name = `${'n'.repeat(120)}`;
  await using file = await open(join(source, name), 'w');
  for (let i = 0; i < 60; i++) await file.write(hash('sha256', String(i)), i * 40_000);
  await file.truncate(2_500_001);
  const content = await readFile(join(source, name));
  const formats = [['--format=gnu'], ...['0.0', '0.1', '1.0'].map((version) => [`--sparse-version=${version}`])];
  for (const [i, format] of formats.entries()) {
    const path = join(directory, `${i}.tar`);
    const posix = i === 0 ? [] : ['--format=posix'];
    await run('tar', [...posix, ...format, '--sparse', '--hole-detection=raw', '-cf', path, '-C', source, name]);
    const tar = await readFile(path);
    assert.ok(tar.length < content.length, `${format.join()} is not sparse`);
    const { entry, content: read } = await readSparse(tar);
    assert.deepEqual([entry.path, entry.type, entry.size], [name, 'reg', content.length]);
    assert.ok(read.equals(content), format.join());

    const parts: Uint8Array[] = [];
    await writeEstargz(inPieces(tar), async (data) => void parts.push(data), { pool, chunkBytes: 100_000 });
    const target = join(directory, `target-${i}`);
    await mkdir(target);
    await writeFile(join(directory, 'converted.tar'), gunzipSync(Buffer.concat(parts)));
    await run('tar', ['-xf', join(directory, 'converted.tar'), '-C', target]);
    assert.ok((await readFile(join(target, name))).equals(content), format.join());
  }
});

test('SparseReader reads a sparse file as Go reads it', async () => {
  const expected = fileOf({ 0: 'hello', 1000: 'wor' }, 2000);
  const pairs = Object.entries({ offset: '0', numbytes: '5' }).concat(
    Object.entries({ offset: '1000', numbytes: '3' }),
  );
  const repeated = metadataEntry(
    'x',
    Buffer.concat([
      paxRecord('GNU.sparse.size', '2000'),
      paxRecord('GNU.sparse.numblocks', '2'),
      ...pairs.map(([key, value]) => paxRecord(`GNU.sparse.${key}`, value)),
    ]),
  );
  const data = Buffer.from('hellowor');
  const map = {
    'GNU.sparse.size': '2000',
    'GNU.sparse.numblocks': '2',
    'GNU.sparse.map': '0,5,1000,3',
    'GNU.sparse.name': 'f',
  };
  const tars = [
    Buffer.concat([repeated, buildEntry({ name: 'f', data }), buildTar([after1])]),
    buildTar([{ name: 'GNUSparseFile.0/f', pax: map, data }, after1]),
    buildTar([{ name: 'x', pax: { ...map, 'GNU.sparse.major': '0', 'GNU.sparse.minor': '1' }, data }, after1]),
    inData('2\n0\n5\n1000\n3\n', 'hellowor', 2000),
    inData('3\n0\n5\n1000\n3\n2000\n0\n', 'hellowor', 2000),
  ];
  for (const tar of tars) {
    const { entry, content, padding, next } = await readSparse(tar);
    assert.deepEqual([entry.path, entry.size, next], ['f', 2000, 'after']);
    assert.ok(content.equals(expected));
    assert.equal(padding.length, 48);
    const again = await readSparse(Buffer.concat([entry.headers, content, padding, buildTar([after1])]));
    assert.ok(again.content.equals(expected));
    const reader = new TarReader(inPieces(tar));
    assert.deepEqual(
      [(await reader.next())?.path, (await reader.next())?.path],
      ['f', 'after'],
      'nobody reads the file',
    );
  }
  assert.ok((await readSparse(inData('0\n', '', 3000))).content.equals(Buffer.alloc(3000)));
  const unknown = {
    'GNU.sparse.major': '2',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': 'f',
    'GNU.sparse.realsize': '9',
  };
  assert.equal((await readSparse(buildTar([{ name: 'x', pax: unknown, data }]))).entry.path, 'x');
});

test('sparseRecords refuses a map that is damaged or asks for very much', async () => {
  const refused = (tar: Buffer, code = 'DataLoss') => assert.rejects(readSparse(tar), { code });
  await refused(inData('2\n0\n5\n3\n3\n', 'hellowor', 2000));
  await refused(inData('2\n1000\n3\n0\n5\n', 'hellowor', 2000));
  await refused(inData('2\n0\n5\n1999\n3\n', 'hellowor', 2000));
  await refused(inData('2\n0\n5\n1000\n30\n', 'hellowor', 2000));
  await refused(inData('1\n0\n5\n', 'hellowor', 2000));
  await refused(inData('1\n0\n-5\n', 'hello', 2000));
  await refused(inData('99999999\n', 'hello', 2000));
  await refused(inData(`${'1'.repeat(600)}`, 'hello', 2000));
  await refused(inData('2\n0\n', '', 2000));
  await refused(inData('1\n0\n5\n', 'hello', 2000, { typeflag: '5' }));
  const numbers = { 'GNU.sparse.size': '9', 'GNU.sparse.numblocks': '3', 'GNU.sparse.map': '0,1' };
  await refused(buildTar([{ name: 'f', pax: numbers, data: Buffer.from('x') }]));
  const odd = metadataEntry('x', paxRecord('GNU.sparse.numbytes', '5'));
  await refused(Buffer.concat([odd, buildTar([after1])]));
  await refused(inData('0\n', '', 17 * 2 ** 30), 'ResourceExhausted');
  const many = Array.from({ length: 3 }, () => inData('0\n', '', 6 * 2 ** 30).subarray(0, -1536));
  const reader = new TarReader(inPieces(Buffer.concat(many)));
  await assert.rejects(async () => {
    while ((await reader.next()) !== undefined);
  }, /more than 17179869184 bytes of zeros/);
});

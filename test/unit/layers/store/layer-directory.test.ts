import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  fileOf,
  findRecord,
  LayerDirectory,
  type LayerRecord,
  recordVersion,
} from '../../../../src/layers/store/layer-directory.ts';
import { residency } from '../../../../src/chunks/residency.ts';
import { chunkedBlob } from '../../../support/chunked-blob.ts';

const { table } = chunkedBlob([Buffer.from('one'), Buffer.from('three'), Buffer.from('four')]);
const metadata = Buffer.alloc(4096, 'metadata');
const contents = {
  disk: Buffer.concat([metadata, Buffer.alloc(8192)]),
  table: Buffer.from(table.digest.buffer),
  'hints.json': Buffer.from('{"libraries":{"libc.so.6":{"first":1,"last":2}}}'),
  'stacking.json': Buffer.from('{"implied":[]}'),
  paths: Buffer.from(''),
};

const record: LayerRecord = {
  version: recordVersion,
  digest: `sha256:${'a'.repeat(64)}`,
  indexDigest: `sha256:${'b'.repeat(64)}`,
  format: 'estargz',
  front: 'erofs',
  reference: 'registry.example/image:1',
  blobBytes: 1,
  diskBytes: contents.disk.length,
  metadataBytes: metadata.length,
  chunks: 3,
  sums: {
    metadata: hash('sha256', metadata),
    table: hash('sha256', contents.table),
    hints: hash('sha256', contents['hints.json']),
    stacking: hash('sha256', contents['stacking.json']),
  },
};

async function directory(t: TestContext): Promise<LayerDirectory> {
  const path = await mkdtemp(join(tmpdir(), 'lazypull-layer-'));
  t.after(() => rm(path, { recursive: true }));
  for (const [name, content] of Object.entries(contents)) await writeFile(join(path, name), content);
  return new LayerDirectory(path);
}

/** The same files after the machine was started again. */
const rebooted = ({ path }: LayerDirectory) => new LayerDirectory(path, 'another boot');

test('LayerDirectory keeps a record, and takes one of another version, or half a one, or a changed one, as none', async (t) => {
  const layer = await directory(t);
  const path = join(layer.path, 'layer.json');
  assert.equal(await layer.record(), undefined);
  await layer.syncRecord(record);
  assert.deepEqual(await layer.record(), record);
  const text = await readFile(path, 'utf8');
  for (const other of [
    '{"vers',
    'null',
    '{}',
    text.replace(`"version":${recordVersion}`, '"version":99'),
    text.replace('12288', '12289'),
    text.replace('"any"', '"all"'),
  ]) {
    await writeFile(path, other);
    assert.equal(await layer.record(), undefined, other);
  }
});

test('LayerDirectory understands the record of a version that knew one format only, with the same FUSE file', async (t) => {
  const layer = await directory(t);
  const { version: _, indexDigest: tocDigest, format: __, chunks: rows, ...same } = record;
  const before = { version: 5, ...same, tocDigest, rows };
  const sum = hash('sha256', `any\n${JSON.stringify(before)}`);
  await writeFile(join(layer.path, 'layer.json'), JSON.stringify({ boot: 'any', sum, record: before }));
  const found = await layer.record();
  assert.deepEqual(found, { ...record, isBare: true });
  const key = hash('sha256', `${before.digest}\n${tocDigest}\n${before.sums.metadata}`);
  assert.equal(fileOf(found!).name, key.slice(0, 32));
  assert.deepEqual(await layer.table(found!), table);
});

test('LayerDirectory keeps what a codec knows, and refuses it if it is damaged', async (t) => {
  const layer = await directory(t);
  assert.equal(await layer.codecData(record), undefined);
  const known = { ...record, sums: { ...record.sums, codec: hash('sha256', 'spans') } };
  await writeFile(layer.codecPath, 'spans');
  assert.deepEqual(Buffer.from((await layer.codecData(known))!).toString(), 'spans');
  await layer.syncRecord(known);
  await writeFile(layer.codecPath, 'spam');
  await assert.rejects(layer.codecData(known), { code: 'DataLoss' });
});

test('LayerDirectory believes a record of files that were not synced only until the machine stops', async (t) => {
  const layer = await directory(t);
  await layer.writeRecord(record);
  assert.deepEqual(await layer.record(), record);
  assert.equal(await rebooted(layer).record(), undefined);
  await layer.syncRecord(record);
  assert.deepEqual(await rebooted(layer).record(), record);
});

test('LayerDirectory takes a record that a bad disk scrambled as none', async (t) => {
  const layer = await directory(t);
  const scrambled = [
    { chunks: -1 },
    { chunks: 1e300 },
    { diskBytes: '2' },
    { blobBytes: undefined },
    { digest: 'sha256:..' },
  ];
  for (const value of [null, 1, [], {}, ...scrambled.map((change) => ({ ...record, ...change }))]) {
    await layer.syncRecord(record);
    const written = JSON.parse(await readFile(join(layer.path, 'layer.json'), 'utf8')) as object;
    await writeFile(join(layer.path, 'layer.json'), JSON.stringify({ ...written, record: value }));
    assert.equal(await layer.record(), undefined, JSON.stringify(value));
  }
});

test('LayerDirectory gives the chunk table back as it was, in shared memory', async (t) => {
  const layer = await directory(t);
  const loaded = await layer.table(record);
  assert.deepEqual(loaded, table);
  assert.ok(loaded.digest.buffer instanceof SharedArrayBuffer);
});

test('LayerDirectory refuses files that a power cut has damaged', async (t) => {
  const damages: [string, (layer: LayerDirectory) => Promise<unknown>][] = [
    ['table', (layer) => layer.table(record)],
    ['hints.json', (layer) => layer.hints(record)],
    ['stacking.json', (layer) => layer.stacking(record)],
    ['disk', (layer) => layer.checkDisk(record, true)],
  ];
  for (const [name, read] of damages) {
    const layer = await directory(t);
    const path = join(layer.path, name);
    await read(layer);
    const content = await readFile(path);
    content[5]! ^= 1;
    await writeFile(path, content);
    await assert.rejects(read(layer), { code: 'DataLoss' }, `${name} changed`);
    await truncate(path, 10);
    await assert.rejects(read(layer), { code: 'DataLoss' }, `${name} cut`);
  }
});

test('LayerDirectory gives a residency back as one that is not verified, and throws one away that is of something else, cut or changed', async (t) => {
  const layer = await directory(t);
  const path = join(layer.path, 'resident');
  const { absent, unverified } = residency;
  const rows = async (of = record) => [...(await layer.resident(of)).resident];
  assert.deepEqual(await rows(), [0, 0, 0]);
  await layer.writeResident(record, Uint8Array.of(1, 0, 1));
  assert.deepEqual(await rows(), [unverified, absent, unverified]);
  assert.deepEqual(await rows({ ...record, chunks: 4 }), [0, 0, 0, 0]);
  assert.deepEqual(await rows({ ...record, sums: { ...record.sums, metadata: record.sums.table } }), [0, 0, 0]);
  const content = await readFile(path);
  for (let at = 0; at < content.length; at++) {
    const changed = Buffer.from(content);
    changed[at]! ^= 1;
    await writeFile(path, changed);
    assert.deepEqual(await rows(), [0, 0, 0], `byte ${at} changed`);
    await writeFile(path, content.subarray(0, at));
    assert.deepEqual(await rows(), [0, 0, 0], `cut at ${at}`);
  }
});

test('LayerDirectory tells a residency of this boot from an earlier one', async (t) => {
  const layer = await directory(t);
  assert.equal((await layer.resident(record)).isOfThisBoot, false);
  await layer.writeResident(record, Uint8Array.of(1, 0, 1));
  assert.equal((await layer.resident(record)).isOfThisBoot, true);
  const later = await rebooted(layer).resident(record);
  assert.equal(later.isOfThisBoot, false);
  assert.deepEqual([...later.resident], [residency.unverified, residency.absent, residency.unverified]);
});

test('LayerDirectory finds a layer by the node id of its file', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-layers-'));
  t.after(() => rm(root, { recursive: true }));
  assert.equal(await findRecord(join(root, 'none'), 5), undefined);
  for (const name of ['x', 'y']) {
    const layer = new LayerDirectory(join(root, name, 'toc'));
    await mkdir(layer.path, { recursive: true });
    await layer.writeRecord({ ...record, digest: name });
  }
  const { nodeId } = fileOf({ ...record, digest: 'y' });
  assert.equal((await findRecord(root, nodeId))?.digest, 'y');
  assert.equal(await findRecord(root, nodeId + 1), undefined);
  const otherLayout = fileOf({ ...record, digest: 'y', sums: { ...record.sums, metadata: record.sums.table } });
  assert.notEqual(otherLayout.nodeId, nodeId);
});

test('LayerDirectory names the file at a disk offset', async (t) => {
  const layer = await directory(t);
  assert.deepEqual(await layer.pathsAt([4096]), ['']);
  await writeFile(layer.pathsPath, '4096\tetc/a\n8192\tetc/\u00c3\u00a9\n', 'latin1');
  assert.deepEqual(await layer.pathsAt([9000, 5000, 10]), ['etc/é', 'etc/a', '']);
});

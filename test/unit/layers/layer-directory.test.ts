import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LayerDirectory, type LayerRecord, recordVersion } from '../../../src/layers/layer-directory.ts';
import { residency } from '../../../src/layers/residency.ts';
import { chunkedBlob } from '../../support/chunked-blob.ts';

async function directory(t: TestContext): Promise<LayerDirectory> {
  const path = await mkdtemp(join(tmpdir(), 'lazypull-layer-'));
  t.after(() => rm(path, { recursive: true }));
  const layer = new LayerDirectory(path);
  for (const file of [layer.diskPath, layer.tablePath, layer.hintsPath, layer.stackingPath, layer.pathsPath])
    await writeFile(file, '');
  return layer;
}

const record: LayerRecord = {
  version: recordVersion,
  digest: `sha256:${'a'.repeat(64)}`,
  tocDigest: `sha256:${'b'.repeat(64)}`,
  blobBytes: 1,
  diskBytes: 2,
  rows: 3,
};

test('LayerDirectory keeps a record, and takes one of another version or half a one as none', async (t) => {
  const layer = await directory(t);
  assert.equal(await layer.record(), undefined);
  await layer.writeRecord(record);
  assert.deepEqual(await layer.record(), record);
  await writeFile(join(layer.path, 'layer.json'), JSON.stringify({ ...record, version: 99 }));
  assert.equal(await layer.record(), undefined);
  await writeFile(join(layer.path, 'layer.json'), '{"vers');
  assert.equal(await layer.record(), undefined);
});

test('LayerDirectory takes a record that a bad disk scrambled as none', async (t) => {
  const layer = await directory(t);
  const scrambled = [
    { rows: -1 },
    { rows: 1e300 },
    { diskBytes: '2' },
    { blobBytes: undefined },
    { digest: 'sha256:..' },
  ];
  for (const value of [null, 1, [], {}, ...scrambled.map((change) => ({ ...record, ...change }))]) {
    await writeFile(join(layer.path, 'layer.json'), JSON.stringify(value));
    assert.equal(await layer.record(), undefined, JSON.stringify(value));
  }
});

test('LayerDirectory gives the chunk table back as it was, in shared memory', async (t) => {
  const layer = await directory(t);
  const { table } = chunkedBlob([Buffer.from('one'), Buffer.from('three')]);
  await writeFile(layer.tablePath, new Uint8Array(table.digest.buffer));
  const loaded = await layer.table(2);
  assert.deepEqual(loaded, table);
  assert.ok(loaded.digest.buffer instanceof SharedArrayBuffer);
  await truncate(layer.tablePath, 10);
  await assert.rejects(layer.table(2), { code: 'DataLoss' });
});

test('LayerDirectory gives a residency back as one that is not verified, and throws one away that does not fit', async (t) => {
  const layer = await directory(t);
  assert.deepEqual([...(await layer.resident(3))], [0, 0, 0]);
  await layer.writeResident(Uint8Array.of(1, 0, 1));
  const { absent, unverified } = residency;
  assert.deepEqual([...(await layer.resident(3))], [unverified, absent, unverified]);
  assert.deepEqual([...(await layer.resident(4))], [0, 0, 0, 0]);
  await writeFile(join(layer.path, 'resident'), Uint8Array.of(1, 7, 1));
  assert.deepEqual([...(await layer.resident(3))], [0, 0, 0]);
});

test('LayerDirectory names the file at a disk offset', async (t) => {
  const layer = await directory(t);
  assert.deepEqual(await layer.pathsAt([4096]), ['']);
  await writeFile(layer.pathsPath, '4096\tetc/a\n8192\tetc/\u00c3\u00a9\n', 'latin1');
  assert.deepEqual(await layer.pathsAt([9000, 5000, 10]), ['etc/é', 'etc/a', '']);
});

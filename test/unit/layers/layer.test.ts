import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { FuseServer } from '../../../src/fuse/server.ts';
import { Layer } from '../../../src/layers/layer.ts';
import { LayerDirectory, type LayerRecord, recordVersion } from '../../../src/layers/layer-directory.ts';
import { Link } from '../../../src/layers/link.ts';
import { layerMetrics } from '../../../src/layers/metrics.ts';
import { residency } from '../../../src/layers/residency.ts';
import { TraceStore } from '../../../src/layers/trace.ts';
import { LayerThreads } from '../../../src/layers/layer-threads.ts';
import { AwakeLayers } from '../../../src/layers/awake-layers.ts';
import { Unwritten } from '../../../src/layers/unwritten.ts';
import { silentLog } from '../../../src/log.ts';
import { chunkedBlob, FakeBlob } from '../../support/chunked-blob.ts';

test('Layer takes back what it said to have when the disk cannot keep it, and fetches nothing for it meanwhile', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-layer-'));
  const directory = new LayerDirectory(root);
  // It takes zeros, which are not written, and cannot be synced.
  await symlink('/dev/full', directory.diskPath);
  const { bytes, table, diskBytes } = chunkedBlob(Array.from({ length: 4 }, () => Buffer.alloc(5000)));
  await writeFile(directory.hintsPath, '{}');
  const record: LayerRecord = {
    version: recordVersion,
    digest: `sha256:${'a'.repeat(64)}`,
    tocDigest: `sha256:${'b'.repeat(64)}`,
    reference: 'r.example/a:1',
    blobBytes: bytes.length,
    diskBytes,
    metadataBytes: 4096,
    rows: 4,
    sums: { metadata: '', table: '', hints: '', stacking: '' },
  };
  await directory.writeResident(record, Uint8Array.of(1, 0, 0, 0));
  const { resident, isOfThisBoot } = await directory.resident(record);
  const warnings: string[] = [];
  const threads = new LayerThreads(1, silentLog);
  const awake = new AwakeLayers();
  const layer = await Layer.open({
    record,
    directory,
    table,
    resident,
    isOfThisBoot,
    blob: new FakeBlob(bytes),
    fuse: { add: () => undefined, remove: () => undefined, mountpoint: '/fuse' } as unknown as FuseServer,
    threads,
    link: new Link(),
    unwritten: new Unwritten(),
    awake,
    traces: new TraceStore(root),
    onGrowth: () => undefined,
    metrics: layerMetrics(),
    log: { ...silentLog, warn: (_: object, message: string) => warnings.push(message) },
  });
  t.after(async () => {
    await layer.close();
    awake.close();
    await threads.close();
    await rm(root, { recursive: true });
  });

  await layer.verify();
  await layer.offer(bytes.subarray(0, table.streamEnd[2]), 0);
  const { absent, verified } = residency;
  assert.deepEqual([...resident], [verified, verified, verified, absent]);
  await layer.sync();
  assert.deepEqual(
    [...resident],
    [verified, absent, absent, absent],
    'what was synced in an earlier life is still there',
  );
  await layer.sync();
  assert.deepEqual(warnings, ['cannot write down which parts of a layer are here']);
  assert.equal(await layer.fillSome(), 0);
  assert.equal(layer.imagePath, join('/fuse', layer.name));
});

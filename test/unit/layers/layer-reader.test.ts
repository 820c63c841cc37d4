import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { residency } from '../../../src/chunks/residency.ts';
import { codeOf } from '../../../src/errors.ts';
import { estargz } from '../../../src/formats/estargz/format.ts';
import { Link } from '../../../src/layers/fetch/link.ts';
import { LayerReader } from '../../../src/layers/layer-reader.ts';
import { ampleMemory } from '../../../src/layers/memory-budget.ts';
import { layerMetrics } from '../../../src/layers/metrics.ts';
import { LayerDirectory, type LayerRecord, recordVersion } from '../../../src/layers/store/layer-directory.ts';
import { UnwrittenChunks } from '../../../src/layers/store/unwritten-chunks.ts';
import { WorkerPool } from '../../../src/layers/workers/pool.ts';
import { silentLog } from '../../../src/log.ts';
import { type EstargzBlob, estargzBlob } from '../../support/estargz-blob.ts';
import { MemoryBlob } from '../../support/memory-blob.ts';

const mib = 1 << 20;

/** A reader of a layer that was just indexed. */
async function setUp(t: TestContext, layer: EstargzBlob) {
  const directory = new LayerDirectory(await mkdtemp(join(tmpdir(), 'lazypull-reader-')));
  const threads = new WorkerPool({ ...ampleMemory, threads: 1 }, silentLog);
  const blob = new MemoryBlob(layer.bytes);
  const { data, size } = await blob.tail(layer.bytes.length);
  const raw = await estargz.fetchIndex(blob, { data, size });
  const wanted = { layer: layer.digest, index: layer.context.tocDigest };
  const planned = await threads.plan({ format: 'estargz', raw, wanted, paths: directory.paths }, () => true);
  const { table, codecData, diskBytes, metadataBytes, blobBytes, sums, indexDigest } = planned;
  const record: LayerRecord = {
    version: recordVersion,
    digest: layer.digest,
    indexDigest,
    format: 'estargz',
    front: 'erofs',
    reference: 'registry.example/a:1',
    blobBytes,
    diskBytes,
    metadataBytes,
    chunks: table.length,
    sums,
  };
  const disk = await open(directory.diskPath, 'r+');
  const resident = new Uint8Array(new SharedArrayBuffer(table.length));
  const errors: string[] = [];
  const reader = new LayerReader(table, {
    record,
    directory,
    format: estargz,
    codecData,
    fetchIndex: () => Promise.reject(new Error('There is no index file')),
    disk,
    threads,
    resident,
    read: new Uint8Array(new SharedArrayBuffer(table.length)),
    openedMs: Date.now(),
    blob,
    link: new Link(),
    unwritten: new UnwrittenChunks(),
    metrics: layerMetrics(),
    onError: ({ code }) => void errors.push(code),
    onDamage: () => undefined,
    onUnwritable: () => undefined,
    onKept: () => undefined,
  });
  t.after(async () => {
    await reader.close();
    await disk.close();
    await threads.close();
    await rm(directory.path, { recursive: true });
  });
  blob.requests = 0;
  return { reader, table, blob, directory, resident, errors };
}

const file = (path: string, content: Buffer) => ({ path, type: 'reg', content }) as const;

test('LayerReader.read makes the bytes of a read resident', async (t) => {
  const content = randomBytes(5 * mib);
  const { reader, table, directory, resident } = await setUp(t, estargzBlob([file('file', content)], mib));
  const at = table.diskOffset[3]!;
  assert.deepEqual(await reader.read(at + 10, 100), []);
  assert.equal(resident[3], residency.verified);
  const image = await readFile(directory.diskPath);
  assert.ok(image.subarray(at, at + mib).equals(content.subarray(3 * mib, 4 * mib)));
  assert.ok(reader.memoryBytes > 0);
});

test('LayerReader.read rejects if a chunk of the read is wrong', async (t) => {
  const layer = estargzBlob([file('file', randomBytes(2 * mib))], mib);
  const { reader, table, blob, errors } = await setUp(t, layer);
  blob.content = Buffer.from(layer.bytes);
  blob.content[table.streamOffset[1]! + 1000]! ^= 1;
  await assert.rejects(reader.read(table.diskOffset[1]!, 4096), { code: 'DataLoss' });
  assert.ok(errors.includes('DataLoss'));
});

test('LayerReader.hints are those of the plan, and damaged ones are refused', async (t) => {
  const layer = estargzBlob([file('usr/lib/x86_64-linux-gnu/libz.so.1', randomBytes(1000))]);
  const { reader } = await setUp(t, layer);
  assert.deepEqual(Object.keys((await reader.hints()).libraries), ['libz.so.1']);
  const { reader: other, directory } = await setUp(t, layer);
  const hints = await readFile(directory.hintsPath);
  hints[5]! ^= 1;
  await writeFile(directory.hintsPath, hints);
  await assert.rejects(other.hints(), { code: 'DataLoss' });
});

test('LayerReader.close rejects reads under way', async (t) => {
  const { reader, table, blob } = await setUp(t, estargzBlob([file('file', randomBytes(2 * mib))], mib));
  blob.delayMs = () => 60_000;
  const reading = assert.rejects(
    reader.read(table.diskOffset[0]!, 4096),
    (error: Error) => codeOf(error.cause) === 'Canceled',
  );
  await reader.close();
  await reading;
});

import assert from 'node:assert/strict';
import { erofs } from '../../../src/fronts/erofs/front.ts';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { FlatFile, RestingFile } from '../../../src/fuse/flat-file.ts';
import type { Fetch, FuseServer } from '../../../src/fuse/fuse-server.ts';
import { helperRoot } from '../../../src/kernel/mount-helper.ts';
import { Layer } from '../../../src/layers/layer.ts';
import type { LayerOptions } from '../../../src/layers/layer-options.ts';
import { LayerDirectory, type LayerRecord, recordVersion } from '../../../src/layers/store/layer-directory.ts';
import { ofToc } from '../../../src/layers/layer-origin.ts';
import { Link } from '../../../src/layers/fetch/link.ts';
import { layerMetrics } from '../../../src/layers/metrics.ts';
import { residency } from '../../../src/chunks/residency.ts';
import { TraceStore } from '../../../src/layers/prefetch/trace.ts';
import { WorkerPool } from '../../../src/layers/workers/pool.ts';
import { ampleMemory } from '../../../src/layers/memory-budget.ts';
import { TableCache } from '../../../src/layers/table-cache.ts';
import { UnwrittenChunks } from '../../../src/layers/store/unwritten-chunks.ts';
import { silentLog } from '../../../src/log.ts';
import { estargz } from '../../../src/formats/estargz/format.ts';
import { cachedLayer } from '../../support/cached-layer.ts';
import { chunkedBlob, FakeBlob } from '../../support/chunked-blob.ts';

type Known = Pick<
  LayerOptions,
  'record' | 'directory' | 'table' | 'resident' | 'isOfThisBoot' | 'blob' | 'traces' | 'log'
>;

const fetchIndex = () => Promise.reject(new Error('There is no index file'));

/** Opens a layer without a FUSE file system: what that would serve is in `served`. */
async function openLayer(t: TestContext, known: Known) {
  const threads = new WorkerPool({ ...ampleMemory, threads: 1 }, silentLog);
  const awake = new TableCache();
  const served: { file?: FlatFile; fetch?: Fetch; wake?: () => Promise<void> } = {};
  const fuse = {
    nameOf: (file: string) => `fuse.${file}`,
    add: (file: FlatFile, fetch: Fetch) => Object.assign(served, { file, fetch }),
    rest: (_: RestingFile, wake: () => Promise<void>) => Object.assign(served, { file: undefined, wake }),
    remove: () => undefined,
  } as unknown as FuseServer;
  const link = new Link();
  const parts = { fuse, threads, awake, link, unwritten: new UnwrittenChunks(), metrics: layerMetrics() };
  const layer = await Layer.open({
    ...known,
    ...parts,
    format: estargz,
    front: erofs,
    origin: ofToc,
    fetchIndex,
    onGrowth: () => undefined,
  });
  let closing: Promise<void> | undefined;
  const close = () => (closing ??= layer.close());
  t.after(async () => {
    await close();
    awake.close();
    await threads.close();
    await rm(known.directory.path, { recursive: true });
  });
  return { layer, served, close };
}

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
    indexDigest: `sha256:${'b'.repeat(64)}`,
    format: 'estargz',
    front: 'erofs',
    reference: 'r.example/a:1',
    blobBytes: bytes.length,
    diskBytes,
    metadataBytes: 4096,
    chunks: 4,
    sums: { metadata: '', table: '', hints: '', stacking: '' },
  };
  await directory.writeResident(record, Uint8Array.of(1, 0, 0, 0));
  const { resident, isOfThisBoot } = await directory.resident(record);
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (_: object, message: string) => warnings.push(message) };
  const known = { record, directory, table, resident, isOfThisBoot, blob: new FakeBlob(bytes) };
  const { layer } = await openLayer(t, { ...known, traces: new TraceStore(root), log });

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
  assert.deepEqual(warnings, ['cannot record which parts of a layer are on the disk']);
  assert.equal(await layer.fillSome(), 0);
  assert.equal(layer.imagePath, join(helperRoot, `fuse.${layer.name}`));
});

test('Layer can rest while its trace is recorded, and the trace has what was read before', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-layer-'));
  const directory = await cachedLayer(root, 'a', Date.now());
  const record = (await directory.record())!;
  const table = await directory.table(record);
  const traces = new TraceStore(root);
  const blob = new FakeBlob(Buffer.alloc(record.blobBytes));
  const known = { record, directory, table, ...(await directory.resident(record)), blob, traces, log: silentLog };
  const { layer, served, close } = await openLayer(t, known);
  t.after(() => rm(root, { recursive: true }));
  const read = async (row: number) => {
    served.file!.read[row] = 1; // as the FUSE server notes it
    await served.fetch!(table.diskOffset[row]!, 100);
  };

  layer.recordTrace();
  await read(0);
  assert.equal(layer.rest(), true);
  assert.equal(served.file, undefined);
  await served.wake!();
  assert.deepEqual([...served.file!.read], [1, 0, 0, 0]);
  assert.equal(layer.rest(), true);
  await close();
  assert.deepEqual((await traces.load(record.digest))?.ranges, [[table.streamOffset[0], table.streamEnd[0]]]);
});

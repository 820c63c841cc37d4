import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { layerPath } from '../../../../src/chunks/layer-id.ts';
import { estargz } from '../../../../src/formats/estargz/format.ts';
import type { ImageAccess } from '../../../../src/images/image-access.ts';
import { layerMetrics } from '../../../../src/layers/metrics.ts';
import { ampleMemory } from '../../../../src/layers/memory-budget.ts';
import { TraceStore } from '../../../../src/layers/prefetch/trace.ts';
import { Indexer } from '../../../../src/layers/resolve/indexer.ts';
import type { LayerRef } from '../../../../src/layers/resolve/layer-ref.ts';
import { LayerDirectory } from '../../../../src/layers/store/layer-directory.ts';
import { WorkerPool } from '../../../../src/layers/workers/pool.ts';
import { silentLog } from '../../../../src/log.ts';
import { type EstargzBlob, estargzBlob } from '../../../support/estargz-blob.ts';
import { MemoryBlob } from '../../../support/memory-blob.ts';
import { until } from '../../../support/until.ts';

const makeLayer = (): EstargzBlob =>
  estargzBlob([{ path: 'file', type: 'reg', content: randomBytes(3 << 20) }], 1 << 20);

/** An indexer of the layers, whose blobs are in memory. */
async function setUp(t: TestContext, ...layers: EstargzBlob[]) {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-indexer-'));
  const threads = new WorkerPool({ ...ampleMemory, threads: 1 }, silentLog);
  const blobs = new Map(layers.map(({ bytes, digest }) => [digest, new MemoryBlob(bytes)]));
  const traces = new TraceStore(root);
  const lines: string[] = [];
  const note = (_: object, message: string): void => void lines.push(message);
  const directory = join(root, 'layers');
  const blob = (digest: string) => blobs.get(digest)!;
  const image = { reference: 'registry.example/a:1', blob } as Partial<ImageAccess> as ImageAccess;
  const indexer = new Indexer({
    threads,
    traces,
    prefetchBytes: () => 0,
    directory,
    aheadDirectory: join(root, 'ahead'),
    metrics: layerMetrics(),
    log: { ...silentLog, info: note, warn: note },
  });
  t.after(async () => {
    await indexer.close();
    await threads.close();
    await rm(root, { recursive: true });
  });
  const refOf = ({ digest, context }: EstargzBlob, siblings: string[] = []): LayerRef & { format: typeof estargz } => ({
    id: { digest, index: context.tocDigest },
    format: estargz,
    image,
    siblings,
    prefetchBytes: undefined,
  });
  const index = async (layer: EstargzBlob, siblings?: string[]) => {
    const ref = refOf(layer, siblings);
    const files = new LayerDirectory(join(directory, layerPath(ref.id)));
    await mkdir(files.path, { recursive: true });
    return { files, indexed: await indexer.index(ref, files) };
  };
  return { root, indexer, traces, lines, index, blobOf: ({ digest }: EstargzBlob) => blobs.get(digest)! };
}

test('Indexer.index fills the directory of a layer, and offers the data that came with the index', async (t) => {
  const layer = makeLayer();
  const { index, blobOf, lines } = await setUp(t, layer);
  const { files, indexed } = await index(layer);
  const record = await files.record();
  assert.deepEqual([record?.digest, record?.indexDigest], [layer.digest, layer.context.tocDigest]);
  assert.equal(indexed.known.table?.length, 3);
  const { bytes, start } = indexed.offered;
  assert.ok(layer.bytes.subarray(start, start + bytes.length).equals(Buffer.from(bytes)));
  assert.equal(start + bytes.length, layer.context.tocOffset);
  assert.equal(blobOf(layer).requests, 1);
  assert.deepEqual(lines, ['indexed a layer']);
  indexed[Symbol.dispose]();
});

test('Indexer.index asks once more for a damaged index, and rejects one that stays wrong', async (t) => {
  const [mended, wrong] = [makeLayer(), makeLayer()];
  const { index, blobOf, lines } = await setUp(t, mended, wrong);
  for (const layer of [mended, wrong]) {
    const damaged = Buffer.from(layer.bytes);
    damaged[layer.context.tocOffset + 30]! ^= 1;
    blobOf(layer).content = damaged;
  }
  blobOf(mended).better = mended.bytes;
  await index(mended);
  assert.deepEqual(lines, ['asking for a table of contents again', 'indexed a layer']);
  await assert.rejects(index(wrong), { code: 'DataLoss' });
});

test('Indexer.index rejects a blob of another format', async (t) => {
  const layer = makeLayer();
  const { index, blobOf } = await setUp(t, layer);
  blobOf(layer).content = randomBytes(100_000);
  await assert.rejects(index(layer), { code: 'FailedPrecondition', message: /not in the eStargz format/ });
});

test('Indexer plans the layer that a client will ask for next', async (t) => {
  const [first, second] = [makeLayer(), makeLayer()];
  const { root, index, blobOf } = await setUp(t, first, second);
  const { indexed } = await index(first, [second.digest]);
  indexed.planNext();
  await until(async () => (await readdir(join(root, 'ahead')).catch(() => [])).length === 1);
  const { files } = await index(second);
  assert.equal((await files.record())?.digest, second.digest);
  assert.equal(blobOf(second).requests, 1);
});

test('Indexer.index requests what a trace names at once', async (t) => {
  const layer = makeLayer();
  const { index, traces, blobOf } = await setUp(t, layer);
  await traces.save({ version: 1, digest: layer.digest, ranges: [[0, 1000]] });
  const { indexed } = await index(layer);
  assert.deepEqual(indexed.trace?.ranges, [[0, 1000]]);
  assert.equal(blobOf(layer).requests, 2);
  const got: Buffer[] = [];
  for await (const { data } of indexed.known.blob.ranges([{ start: 0, end: 1000 }])) got.push(data);
  assert.ok(Buffer.concat(got).equals(layer.bytes.subarray(0, 1000)));
  assert.equal(blobOf(layer).requests, 2, 'the answer was on its way');
});

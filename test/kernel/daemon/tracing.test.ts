import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Collector, fieldsOf } from '../../support/collector.ts';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';

const file: FileSpec & { content: Buffer } = { path: 'file', type: 'reg', content: randomBytes(300_000) };

test('A daemon sends what a Prepare did, and a read that waited for long, to a collector', async () => {
  await using collector = await Collector.open();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, OTEL_BSP_SCHEDULE_DELAY: '50' };
  await using lab = await LayerLab.open('no_background_fetch = true\nnoprefetch = true\n', undefined, undefined, env);
  const padding: FileSpec = { path: 'padding', type: 'reg', content: randomBytes(3_000_000) };
  const layer = lab.layer(estargzBlob([file, padding]));
  const snapshot = await lab.prepare([layer]);
  const prepare = await collector.span('Prepare');
  assert.deepEqual(fieldsOf(prepare.attributes), {
    'lazypull.image': lab.reference,
    'lazypull.layer': layer.digest,
    'lazypull.outcome': 'lazy',
    'lazypull.how': 'toc',
  });
  const resolve = await collector.span('resolve');
  assert.equal(resolve.parentSpanId, prepare.spanId);
  for (const name of ['index lookup', 'plan']) assert.equal((await collector.span(name)).parentSpanId, resolve.spanId);
  assert.equal((await collector.span('mount')).parentSpanId, prepare.spanId);

  const isBlob = { path: new RegExp(layer.digest.slice('sha256:'.length)) };
  lab.registry.script(isBlob, { kind: 'delay', ms: 600 });
  const root = await lab.mount(snapshot);
  assert.ok((await readFile(join(root, 'file'))).equals(file.content));
  await lab.unmount(root);
  const read = await collector.span('read');
  assert.equal(fieldsOf(read.attributes)['lazypull.layer'], layer.digest);
  assert.ok(Number(BigInt(read.endTimeUnixNano) - BigInt(read.startTimeUnixNano)) >= 500e6);

  assert.equal(await lab.isLazy({ digest: `sha256:${'0'.repeat(64)}`, annotations: {} }), false);
  const outcomes = () => collector.spans.map(({ attributes }) => fieldsOf(attributes)['lazypull.outcome']);
  await collector.until(() => outcomes().includes('refused'));
  await lab.remove(snapshot, 1);
});

test('A daemon serves as ever while its collector takes requests and never answers', async () => {
  await using collector = await Collector.open(false);
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, OTEL_BSP_SCHEDULE_DELAY: '50' };
  await using lab = await LayerLab.open('', undefined, undefined, env);
  const snapshot = await lab.prepare([lab.layer(estargzBlob([file]))]);
  const root = await lab.mount(snapshot);
  assert.ok((await readFile(join(root, 'file'))).equals(file.content));
  await lab.unmount(root);
  await collector.until(() => collector.paths.length > 0);
  await lab.remove(snapshot, 1);
});

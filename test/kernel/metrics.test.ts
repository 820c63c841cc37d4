import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { estargzBlob, type FileSpec } from '../support/estargz-blob.ts';
import { StatusClient } from '../../src/status/status-client.ts';
import { LayerLab } from '../support/layer-lab.ts';

const content = randomBytes(3 << 20);
const files: FileSpec[] = [
  { path: '.', type: 'dir', mode: 0o755 },
  { path: 'first', type: 'reg', mode: 0o644, content },
  { path: 'spoilt', type: 'reg', mode: 0o644, content: randomBytes(4000) },
];

test('Metrics and status tell what was fetched, why, who waited, and which layers were refused', async () => {
  await using lab = await LayerLab.open(
    'metrics_address = "127.0.0.1:0"\nno_background_fetch = true\nnoprefetch = true\n[unindexed]\nmode = "client"',
  );
  const blob = estargzBlob(files, 1 << 20, 0);
  const bytes = Buffer.from(blob.bytes);
  bytes[blob.context.tocOffset - 500]! ^= 1; // in the file "spoilt"
  const layer = lab.layer({ ...blob, bytes });
  assert.ok(!(await lab.isLazy({ digest: layer.digest })), 'a layer without a TOC digest');
  const mounted = await lab.mount(await lab.prepare([layer]));
  assert.deepEqual(await readFile(join(mounted, 'first')), content);
  await assert.rejects(readFile(join(mounted, 'spoilt')), { code: 'EIO' });

  const metrics = await lab.metrics();
  const value = (name: string) => metrics.get(name) ?? assert.fail(`no ${name}`);
  assert.equal(value('lazypull_snapshots_prepared_total{outcome="lazy",reason="none"}'), 1);
  assert.equal(value('lazypull_snapshots_prepared_total{outcome="refused",reason="no_toc"}'), 1);
  assert.equal(value('lazypull_grpc_requests_total{method="Prepare",code="AlreadyExists"}'), 1);
  assert.equal(value('lazypull_layers_mounted'), 1);
  assert.ok(value('lazypull_layers_fetched_bytes_total{reason="index"}') > 0);
  assert.ok(value('lazypull_fuse_reads_total{outcome="hit"}') > 0, 'EROFS reads its superblock');
  assert.ok(value('lazypull_fuse_reads_total{outcome="error"}') > 0);
  assert.ok(value('lazypull_fuse_reads_total{outcome="miss"}') > 0);
  assert.ok(value('lazypull_fuse_read_wait_seconds_count') > 0);
  assert.ok(value('lazypull_layers_verification_failures_total') > 0);
  assert.equal(value('lazypull_fuse_waiting_reads'), 0);
  assert.ok(value('lazypull_layers_cache_bytes') >= content.length);
  assert.equal(value('lazypull_registry_requests_total{status="5xx"}'), 0);
  const fetched = ['index', 'demand', 'prefetch', 'sweep', 'background'].map((reason) =>
    value(`lazypull_layers_fetched_bytes_total{reason="${reason}"}`),
  );
  assert.ok(fetched.reduce((sum, each) => sum + each) <= value('lazypull_registry_received_bytes_total'));

  using client = new StatusClient(lab.socket);
  const { layers, cache } = await client.status();
  const [first, ...others] = layers;
  assert.deepEqual(others, []);
  assert.equal(first?.digest, layer.digest);
  assert.equal(first.blobBytes, bytes.length);
  assert.equal(first.contentBytes, content.length + 4000);
  assert.equal(first.presentBytes, content.length);
  assert.equal(first.mounts, 1);
  assert.equal(first.waiting, 0);
  assert.ok(first.errors > 0);
  assert.ok(first.fetchedBytes > 0);
  assert.equal(cache.layers, 1);
  const outcomes = await client.outcomes([layer.digest]);
  assert.deepEqual(
    outcomes.map(({ reason }) => reason),
    [undefined],
  );
  await lab.unmount(mounted);
});

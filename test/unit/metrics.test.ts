import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricsRegistry } from '../../src/metrics.ts';

/** The lines of the text without comments. */
async function lines(metrics: MetricsRegistry): Promise<string[]> {
  return (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

test('Counter has its known label values from the start, and counts', async () => {
  const metrics = new MetricsRegistry();
  const reads = metrics.counter('lazypull_reads_total', 'Reads.', { outcome: ['hit', 'miss'] });
  reads.add(2, { outcome: 'miss' });
  reads.add(1, { outcome: 'miss' });
  assert.equal(
    await metrics.text(),
    '# HELP lazypull_reads_total Reads.\n# TYPE lazypull_reads_total counter\n' +
      'lazypull_reads_total{outcome="hit"} 0\nlazypull_reads_total{outcome="miss"} 3\n',
  );
});

test('MetricsRegistry.text reads numbers from their source, and leaves them out if it fails', async () => {
  const metrics = new MetricsRegistry();
  let size = 1;
  metrics.gauge('lazypull_size_bytes', 'Size.').from(() => Promise.resolve(size));
  metrics.gauge('lazypull_closed', 'Closed.').from(() => Promise.reject(new Error('closed')));
  size = 7;
  assert.deepEqual(await lines(metrics), ['lazypull_size_bytes 7']);
});

test('Histogram counts in buckets that include each other', async () => {
  const metrics = new MetricsRegistry();
  const seconds = metrics.histogram('lazypull_wait_seconds', 'Waits.', [0.1, 1], { method: [] });
  for (const value of [0.05, 0.1, 0.5, 20]) seconds.observe(value, { method: 'Stat' });
  assert.deepEqual(await lines(metrics), [
    'lazypull_wait_seconds_bucket{method="Stat",le="0.1"} 2',
    'lazypull_wait_seconds_bucket{method="Stat",le="1"} 3',
    'lazypull_wait_seconds_bucket{method="Stat",le="+Inf"} 4',
    'lazypull_wait_seconds_sum{method="Stat"} 20.65',
    'lazypull_wait_seconds_count{method="Stat"} 4',
  ]);
});

test('MetricsRegistry escapes label values, and bounds their number', async () => {
  const metrics = new MetricsRegistry();
  const calls = metrics.counter('lazypull_calls_total', 'Calls\nof \\ methods.', { method: [] });
  calls.add(1, { method: 'a"} 1\nfake\\' });
  for (let i = 0; i < 10_000; i++) calls.add(1, { method: `m${i}` });
  const text = await metrics.text();
  assert.ok(text.startsWith('# HELP lazypull_calls_total Calls\\nof \\\\ methods.\n'));
  assert.ok(text.includes('\nlazypull_calls_total{method="a\\"} 1\\nfake\\\\"} 1\n'));
  const all = await lines(metrics);
  assert.equal(all.length, 257);
  assert.equal(all.at(-1), 'lazypull_calls_total{method="other"} 9745');
});

test('MetricsRegistry refuses a name that Prometheus would not take, and a second one', () => {
  const metrics = new MetricsRegistry();
  metrics.gauge('lazypull_layers', 'Layers.');
  assert.throws(() => metrics.gauge('lazypull_layers', 'Layers.'), /Cannot declare/);
  assert.throws(() => metrics.gauge('lazypull_Layers-open', 'Layers.'), /Cannot declare/);
  assert.throws(() => metrics.counter('lazypull_reads', 'Reads.'), /does not end in "_total"/);
});

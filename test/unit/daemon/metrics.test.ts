import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { daemonMetrics } from '../../../src/daemon/metrics.ts';
import { serveMetrics } from '../../../src/daemon/metrics-server.ts';

const loopback = { host: '127.0.0.1', port: 0 };

test('daemonMetrics declares every metric as docs/metrics.md describes it', async () => {
  const text = await readFile(new URL('../../../docs/metrics.md', import.meta.url), 'utf8');
  const documented = text.split('\n').filter((line) => line.startsWith('| `'));
  const declared = daemonMetrics().all.descriptions.map(({ name, type, labels, help }) => {
    const names = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${names} | ${help} |`;
  });
  assert.deepEqual(documented, declared);
});

test('serveMetrics gives metrics as Prometheus asks for them', async () => {
  const { all, layers } = daemonMetrics();
  layers.fetchedBytes.add(42, { reason: 'demand' });
  await using server = await serveMetrics(loopback, all, () => true);
  const answer = await fetch(`http://127.0.0.1:${server.port}/metrics?x=1`);
  assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  const text = await answer.text();
  assert.match(text, /^lazypull_layers_fetched_bytes_total\{reason="demand"\} 42$/m);
  assert.match(text, /^process_resident_memory_bytes \d{8,}$/m);
  for (const line of text.trimEnd().split('\n')) {
    assert.match(line, /^(# (HELP|TYPE) [a-z_]+ \S.*|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+)$/);
  }
});

test('serveMetrics answers /healthz with whether the daemon serves', async () => {
  let ready = false;
  await using server = await serveMetrics(loopback, daemonMetrics().all, () => ready);
  const status = async () => (await fetch(`http://127.0.0.1:${server.port}/healthz`)).status;
  assert.equal(await status(), 503);
  ready = true;
  assert.equal(await status(), 200);
});

test('serveMetrics refuses what it does not have, and survives nonsense', async () => {
  await using server = await serveMetrics(loopback, daemonMetrics().all, () => true);
  const base = `http://127.0.0.1:${server.port}`;
  assert.equal((await fetch(base)).status, 404);
  assert.equal((await fetch(`${base}/metrics`, { method: 'POST', body: 'x'.repeat(100_000) })).status, 405);
  for (const nonsense of ['\0\0\0\0', `GET /metrics HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, 'GET /\r\n\r\n']) {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {}).resume();
    socket.write(nonsense);
    await once(socket, 'close');
  }
  assert.equal((await fetch(`${base}/metrics`, { method: 'HEAD' })).status, 200);
});

test('serveMetrics says what to do if its address is taken', async () => {
  await using server = await serveMetrics(loopback, daemonMetrics().all, () => true);
  const { port } = server;
  await assert.rejects(
    serveMetrics({ ...loopback, port }, daemonMetrics().all, () => true),
    {
      code: 'FailedPrecondition',
      message: `Cannot serve metrics at "127.0.0.1:${port}": choose another --metrics-address`,
    },
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openSpans, remoteSpan } from '../../../src/daemon/tracing.ts';
import { LazypullError } from '../../../src/errors.ts';
import { type Log, silentLog } from '../../../src/log.ts';
import { Collector, fieldsOf } from '../../support/collector.ts';
import { until } from '../../support/until.ts';

const parent = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };
const traceparent = `00-${parent.traceId}-${parent.spanId}-01`;

/** A log that keeps warnings. */
function warnings(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  return { log: { ...silentLog, warn: (_fields: object, message: string) => void lines.push(message) }, lines };
}

test('openSpans sends work within work, its fields and its failure, as a part of the trace of a client', async () => {
  await using collector = await Collector.open();
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.endpoint}/`,
    OTEL_RESOURCE_ATTRIBUTES: 'team=ci%20team, broken',
    OTEL_BSP_SCHEDULE_DELAY: '10',
  };
  await using spans = await openSpans(env, silentLog);
  const work = spans.within(
    'Prepare',
    { 'lazypull.image': 'x'.repeat(5000) },
    async (span) => {
      await spans.within('resolve', {}, async () => {
        await delay(20);
        await spans.within('plan', {}, () => Promise.reject(new LazypullError('DataLoss', 'It is wrong')));
      });
      span.set({ 'lazypull.outcome': 'never' });
    },
    traceparent,
  );
  await assert.rejects(work, /It is wrong/);
  spans.past('read', 500, { 'lazypull.bytes': 4096 });
  const [prepare, resolve, plan, read] = await Promise.all(
    ['Prepare', 'resolve', 'plan', 'read'].map((name) => collector.span(name)),
  );
  assert.ok(prepare && resolve && plan && read);
  assert.deepEqual(collector.paths.slice(0, 1), ['/v1/traces']);
  assert.deepEqual([prepare.traceId, prepare.parentSpanId], [parent.traceId, parent.spanId]);
  assert.deepEqual([resolve.traceId, resolve.parentSpanId], [parent.traceId, prepare.spanId]);
  assert.equal(plan.parentSpanId, resolve.spanId);
  assert.deepEqual(plan.status, { code: 2, message: 'It is wrong' });
  assert.equal(fieldsOf(plan.attributes)['error.type'], 'DataLoss');
  assert.equal(fieldsOf(prepare.attributes)['lazypull.outcome'], undefined);
  assert.equal(String(fieldsOf(prepare.attributes)['lazypull.image']).length, 1024);
  assert.equal(read.parentSpanId || undefined, undefined);
  assert.equal(Math.round(Number(BigInt(read.endTimeUnixNano) - BigInt(read.startTimeUnixNano)) / 1e6), 500);
  const resource = fieldsOf(collector.resource);
  assert.deepEqual([resource['service.name'], resource['team']], ['lazypull', 'ci team']);
});

test('openSpans sends nothing unless it is asked to', async () => {
  await using collector = await Collector.open();
  const { endpoint } = collector;
  for (const env of [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: 'true' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_TRACES_EXPORTER: 'none' },
  ]) {
    await using spans = await openSpans(env, silentLog);
    assert.equal(await spans.within('work', {}, () => Promise.resolve(7)), 7);
    spans.past('read', 1, {});
  }
  assert.deepEqual(collector.paths, []);
});

test('openSpans says so of an endpoint that is no URL of HTTP', async () => {
  for (const endpoint of ['collector:4317', 'grpc://collector:4317', '::']) {
    const { log, lines } = warnings();
    await using spans = await openSpans({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, log);
    assert.equal(await spans.within('work', {}, () => Promise.resolve(7)), 7);
    assert.equal(lines.length, 1);
  }
});

for (const [name, answers] of [
  ['that is down', undefined],
  ['that never answers', false],
] as const) {
  test(`openSpans delays nothing for a collector ${name}, not even the end`, async () => {
    const collector = await Collector.open(answers ?? true);
    const { endpoint } = collector;
    if (answers === undefined) await collector[Symbol.asyncDispose]();
    const { log, lines } = warnings();
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_BSP_SCHEDULE_DELAY: '10' };
    const spans = await openSpans(env, log);
    for (let i = 0; i < 3000; i++) {
      assert.equal(await spans.within('work', {}, () => Promise.resolve(i)), i);
      spans.past('read', 1, {});
    }
    if (answers === undefined)
      await until(
        () => lines.length > 0,
        () => 'nothing is said',
      );
    await spans[Symbol.asyncDispose]();
    assert.ok(lines.length <= 1);
    if (answers !== undefined) await collector[Symbol.asyncDispose]();
  });
}

test('remoteSpan takes what a client sends, and nothing else', () => {
  assert.deepEqual(remoteSpan(traceparent), { ...parent, traceFlags: 1, isRemote: true });
  assert.equal(remoteSpan(`01-${parent.traceId}-${parent.spanId}-00-more`)?.traceFlags, 0);
  for (const text of [
    undefined,
    '',
    'x',
    traceparent.toUpperCase(),
    `ff${traceparent.slice(2)}`,
    `00-${'0'.repeat(32)}-${parent.spanId}-01`,
    `00-${parent.traceId}-${'0'.repeat(16)}-01`,
    `${traceparent}x`,
  ]) {
    assert.equal(remoteSpan(text), undefined, text);
  }
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, messageOf } from '../../../../src/errors.ts';
import type { Log } from '../../../../src/log.ts';
import type { Blob } from '../../../../src/registry/blob/blob.ts';
import { RegistryClient } from '../../../../src/registry/client.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { ServerHealth } from '../../../../src/registry/hosts/server-health.ts';
import { type Fault, type RegistryOptions, startRegistry, type TestRegistry } from '../../../support/registry.ts';

const bytes = randomBytes(1_000_000);
const digestPath = /blobs/;

/**
 * A registry with a mirror, and a client that waits long for a server that is alone, and 400 ms for one that is not.
 */
async function setUp(mirrorOptions: RegistryOptions = {}) {
  const origin = await startRegistry();
  const mirror = await startRegistry(mirrorOptions);
  const digest = origin.addBlob(bytes);
  mirror.addBlob(bytes);
  const warnings: string[] = [];
  const ignore = (): void => {};
  const warn = (fields: object, message: string): void => void warnings.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { debug: ignore, info: ignore, warn, error: warn };
  const client = new RegistryClient({
    hosts: { host: { [origin.host]: { mirrors: [{ host: mirror.host }] } } },
    retry: { tries: 3, minDelayMs: 1, maxDelayMs: 2 },
    timeouts: { headersMs: 60_000, bodyIdleMs: 60_000, patienceMs: 400 },
    environment: {},
    log,
  });
  const blob = (): Blob => client.blob(parseReference(`${origin.host}/app`), digest);
  return {
    origin,
    mirror,
    warnings,
    client,
    blob,
    async [Symbol.asyncDispose]() {
      await client.close();
      await origin.close();
      await mirror.close();
    },
  };
}

async function read(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

function seen({ mirror, origin }: { mirror: TestRegistry; origin: TestRegistry }): [number, number] {
  return [mirror.requests.length, origin.requests.length];
}

test('Mirrors logs a mirror in trouble and skips it for all blobs of the registry', async () => {
  for (const fault of [
    { kind: 'status', status: 503 },
    { kind: 'status', status: 429, headers: { 'retry-after': '60' } },
    { kind: 'reset', after: -1 },
  ] as Fault[]) {
    await using s = await setUp();
    s.mirror.script({}, fault);
    assert.deepEqual((await s.blob().tail(10)).data, bytes.subarray(-10));
    assert.deepEqual(await read(s.blob().range(5, 10)), bytes.subarray(5, 10));
    assert.deepEqual(seen(s), [1, 2], JSON.stringify(fault));
    assert.match(s.warnings.join(), /asking the next server .*(503|429|reset)/);
  }
});

test('Mirrors still asks a mirror that lacks one blob for others', async () => {
  await using s = await setUp();
  s.mirror.blobs.clear();
  const blob = s.blob();
  await blob.tail(10);
  await blob.tail(10);
  assert.deepEqual(seen(s), [1, 2]);
  s.mirror.addBlob(bytes);
  await s.blob().tail(10);
  assert.deepEqual(seen(s), [2, 2]);
});

test('Mirrors lets a silent mirror delay a reader for a moment, once', async () => {
  await using s = await setUp();
  s.mirror.script({}, ...Array<Fault>(5).fill({ kind: 'stall', after: -1 }));
  assert.deepEqual(await read(s.blob().range(0, 1000)), bytes.subarray(0, 1000));
  await s.blob().tail(10);
  assert.deepEqual(seen(s), [1, 2]);
  assert.match(s.warnings.join(), /no answer so far/);
  assert.equal(s.mirror.requests[0]?.aborted, true);
});

test('Mirrors waits for a slow mirror if there is nothing better', async () => {
  await using s = await setUp();
  s.mirror.script({}, { kind: 'delay', ms: 900 });
  s.origin.script({}, ...Array<Fault>(5).fill({ kind: 'status', status: 404 }));
  assert.deepEqual((await s.blob().tail(10)).data, bytes.subarray(-10));
  assert.deepEqual(seen(s), [1, 1]);
});

test('Mirrors lets the origin finish what a mirror began', async () => {
  for (const fault of [
    { kind: 'stall', after: 1000 },
    { kind: 'reset', after: 1000 },
    { kind: 'short', bytes: 1000, declared: true },
    { kind: 'content-range', value: 'bytes 0-1/2' },
  ] as Fault[]) {
    await using s = await setUp();
    s.mirror.script({}, fault);
    assert.deepEqual(await read(s.blob().range(0, 300_000)), bytes.subarray(0, 300_000), JSON.stringify(fault));
    assert.deepEqual(seen(s), [1, 1], JSON.stringify(fault));
    if (fault.kind !== 'content-range') assert.equal(s.origin.requests[0]?.range, 'bytes=1000-299999');
  }
});

test('Mirrors counts a storage to which a mirror redirects as the mirror', async () => {
  await using s = await setUp({ redirect: true });
  const blob = s.blob();
  await blob.tail(10);
  s.mirror.script({ on: 'storage' }, { kind: 'stall', after: -1 });
  assert.deepEqual(await read(blob.range(0, 1000)), bytes.subarray(0, 1000));
  assert.equal(s.origin.requests.length, 1);
});

test('Mirrors sends the headers of a mirror to the mirror alone', async () => {
  await using s = await setUp({ redirect: true });
  const header = { 'X-Secret': 'yes' };
  const hosts = { host: { [s.origin.host]: { mirrors: [{ host: s.mirror.host, header }] } } };
  await using client = new RegistryClient({ hosts, environment: {} });
  const reference = parseReference(`${s.origin.host}/app`);
  await client.blob(reference, s.origin.addBlob(bytes)).tail(10);
  s.mirror.blobs.clear();
  await client.blob(reference, s.origin.addBlob(bytes)).tail(10);
  const seen = [...s.mirror.requests, ...s.origin.requests].map(({ on, headers }) => [on, headers['x-secret']]);
  assert.deepEqual(seen, [
    ['registry', 'yes'],
    ['storage', undefined],
    ['registry', 'yes'],
    ['registry', undefined],
  ]);
});

test('distrust() has another server asked, until there is none', async () => {
  await using s = await setUp();
  const blob = s.blob();
  const askedMs = performance.now();
  s.mirror.script({ path: digestPath }, { kind: 'corrupt' });
  assert.notDeepEqual(await read(blob.range(0, 1000)), bytes.subarray(0, 1000));
  assert.equal(await blob.distrust(askedMs), true);
  assert.equal(await blob.distrust(askedMs), true, 'a second complaint about the same request counts once');
  assert.deepEqual(await read(blob.range(0, 1000)), bytes.subarray(0, 1000));
  assert.deepEqual(seen(s), [1, 1]);
  assert.equal(await blob.distrust(performance.now()), false);
  await read(blob.range(0, 1000));
  assert.deepEqual(seen(s), [2, 1], 'the one that was wrong longer ago is asked first');
});

test('Mirrors names each failure if all servers fail', async () => {
  await using s = await setUp();
  s.mirror.script({}, ...Array<Fault>(9).fill({ kind: 'status', status: 502 }));
  s.origin.blobs.clear();
  await assert.rejects(s.blob().tail(10), (error) => {
    assert.equal(codeOf(error), 'NotFound');
    assert.match(
      messageOf(error),
      new RegExp(`"http://${s.origin.host}/.*: 404 .*before that: .*${s.mirror.host}.*502`),
    );
    return true;
  });
});

test('Mirrors gives a caller that gives up while servers are silent its own reason', async () => {
  await using s = await setUp();
  for (const server of [s.mirror, s.origin]) server.script({}, { kind: 'stall', after: -1 });
  await assert.rejects(s.blob().tail(10, AbortSignal.timeout(700)), (error) => codeOf(error) === 'DeadlineExceeded');
  await sleep(50);
  assert.deepEqual(
    [...s.mirror.requests, ...s.origin.requests].map(({ aborted }) => aborted),
    [true, true],
  );
});

test('Mirrors gets manifests from the next server too', async () => {
  await using s = await setUp();
  const type = 'application/vnd.oci.image.manifest.v1+json';
  for (const server of [s.mirror, s.origin]) server.addManifest('app', 'latest', type, Buffer.from('{}'));
  s.mirror.script({}, { kind: 'stall', after: -1 });
  assert.equal((await s.client.manifest(parseReference(`${s.origin.host}/app`))).mediaType, type);
  assert.deepEqual(seen(s), [1, 1]);
});

test('ServerHealth skips a server for longer each time, and not at all once it works', (t) => {
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  const health = new ServerHealth();
  const skippedMs = (): number => {
    const sinceMs = nowMs;
    while (health.isSkipped('x')) nowMs += 1000;
    return nowMs - sinceMs;
  };
  health.failed('x');
  health.failed('x');
  assert.equal(skippedMs(), 10_000, 'failures of what was under way count once');
  health.failed('x');
  assert.equal(skippedMs(), 20_000);
  for (let i = 0; i < 10; i++, skippedMs()) health.failed('x', 3_600_000);
  health.failed('x');
  assert.equal(skippedMs(), 300_000);
  health.failed('x');
  health.succeeded('x');
  assert.equal(skippedMs(), 0);
  health.failed('x', 60_000);
  assert.equal(skippedMs(), 60_000, 'as long as it asked for');
  assert.ok(!health.isSkipped('y'));
});

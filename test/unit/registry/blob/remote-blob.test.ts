import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, type ErrorCode, explain, messageOf } from '../../../../src/errors.ts';
import type { Blob } from '../../../../src/registry/blob/blob.ts';
import { RegistryClient, type RegistryClientOptions } from '../../../../src/registry/client.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { type RegistryOptions, startRegistry, type TestRegistry } from '../../../support/registry.ts';

const bytes = randomBytes(1_000_000);
const quick: RegistryClientOptions = {
  retry: { tries: 4, minDelayMs: 1, maxDelayMs: 4 },
  timeouts: { connectMs: 1_000, headersMs: 300, bodyIdleMs: 300 },
  environment: {},
};

interface Setup extends AsyncDisposable {
  registry: TestRegistry;
  client: RegistryClient;
  blob: Blob;
}

async function setup(
  options: RegistryOptions = {},
  client: RegistryClientOptions = {},
  content: Buffer = bytes,
): Promise<Setup> {
  const registry = await startRegistry(options);
  const registryClient = new RegistryClient({ ...quick, ...client });
  const blob = registryClient.blob(parseReference(`${registry.host}/team/app`), registry.addBlob(content));
  return {
    registry,
    client: registryClient,
    blob,
    async [Symbol.asyncDispose]() {
      await registryClient.close();
      await registry.close();
    },
  };
}

async function read(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

function fails(promise: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  return assert.rejects(promise, (error) => {
    assert.match(explain(error), message);
    assert.equal(codeOf(error), code);
    return true;
  });
}

test('tail() is one request and tells the size', async () => {
  await using s = await setup();
  const { data, size } = await s.blob.tail(1000);
  assert.deepEqual(data, bytes.subarray(-1000));
  assert.equal(size, bytes.length);
  assert.equal(s.registry.requests.length, 1);
  assert.equal(s.registry.bytes, 1000);
  assert.equal(s.registry.requests[0]?.range, 'bytes=-1000');
  assert.equal(s.registry.requests[0]?.headers['accept-encoding'], 'identity');
  assert.match(s.registry.requests[0]?.headers['user-agent'] ?? '', /^lazypull\/\d/);
  assert.deepEqual({ ...s.client.counters }, { requests: 1, bytes: 1000 });
});

test('tail() tells when some of it comes', async () => {
  await using s = await setup();
  s.registry.script({}, { kind: 'drip', bytes: 300, everyMs: 20 });
  let times = 0;
  await s.blob.tail(1000, undefined, () => times++);
  assert.equal(times, 4);
});

test('tail() tells when some of a blob comes whose length nobody tells', async () => {
  await using s = await setup({ suffixRanges: 'ignore' });
  s.registry.script({}, { kind: 'long', bytes: 0 });
  let times = 0;
  const { data } = await s.blob.tail(1000, undefined, () => times++);
  assert.deepEqual(data, bytes.subarray(-1000));
  assert.ok(times > 1, `${times} times`);
});

test('tail() of a blob that is shorter gives all of it', async () => {
  for (const suffixRanges of ['serve', 'refuse', 'ignore'] as const) {
    await using s = await setup({ suffixRanges }, {}, Buffer.from('short'));
    assert.deepEqual(await s.blob.tail(1000), { data: Buffer.from('short'), size: 5 });
  }
});

test('tail() of an empty blob is empty', async () => {
  for (const suffixRanges of ['serve', 'refuse', 'ignore'] as const) {
    await using s = await setup({ suffixRanges }, {}, Buffer.alloc(0));
    assert.deepEqual(await s.blob.tail(1000), { data: Buffer.alloc(0), size: 0 });
  }
});

test('tail() does not take a bare 416 for the word that a blob is empty', async () => {
  await using s = await setup();
  s.registry.script({}, ...Array(2).fill({ kind: 'status', status: 416 }));
  await fails(s.blob.tail(10), 'FailedPrecondition', /does not tell the size/);
});

test('tail() asks for the size first if suffix ranges were refused before', async () => {
  await using s = await setup({ suffixRanges: 'refuse' });
  assert.deepEqual((await s.blob.tail(1000)).data, bytes.subarray(-1000));
  assert.deepEqual(
    s.registry.requests.map(({ range }) => range),
    ['bytes=-1000', 'bytes=999000-999999'],
  );
  const other = randomBytes(5000);
  const digest = s.registry.addBlob(other);
  s.registry.resetCounts();
  const blob = s.client.blob(parseReference(`${s.registry.host}/team/app`), digest);
  assert.deepEqual(await blob.tail(100), { data: other.subarray(-100), size: 5000 });
  assert.deepEqual(
    s.registry.requests.map(({ range }) => range),
    ['bytes=0-0', 'bytes=4900-4999'],
  );
});

test('tail() copes with servers that answer a suffix range with 400 or without the size', async () => {
  for (const fault of [
    { kind: 'status', status: 400 },
    { kind: 'status', status: 501 },
    { kind: 'content-range', value: 'bytes 999000-999999/*' },
  ] as const) {
    await using s = await setup();
    s.registry.script({}, fault);
    assert.deepEqual(await s.blob.tail(1000), { data: bytes.subarray(-1000), size: bytes.length });
    assert.equal(s.registry.requests.length, 3);
  }
});

test('tail() uses a small blob that comes whole, and refuses a large one', async () => {
  await using small = await setup({ ranges: false });
  assert.deepEqual((await small.blob.tail(1000)).data, bytes.subarray(-1000));
  await using large = await setup({ ranges: false }, {}, Buffer.alloc(40_000_000));
  await fails(large.blob.tail(1000), 'FailedPrecondition', /the server ignores ranges/);
  assert.ok(large.registry.bytes < 40_000_000);
  await using suffix = await setup({ suffixRanges: 'ignore' }, {}, Buffer.alloc(6_000_000, 7));
  assert.deepEqual(await suffix.blob.tail(10), { data: Buffer.alloc(10, 7), size: 6_000_000 });
});

test('tail() tries again after every fault that may pass', async () => {
  const faults = [
    { kind: 'status', status: 500 },
    { kind: 'status', status: 503 },
    { kind: 'status', status: 429, headers: { 'retry-after': '0' } },
    { kind: 'short', bytes: 10 },
    { kind: 'short', bytes: 10, declared: true },
    { kind: 'long', bytes: 10 },
    { kind: 'stall', after: 10 },
    { kind: 'stall', after: -1 },
    { kind: 'reset', after: 10 },
    { kind: 'reset', after: -1 },
    { kind: 'content-range', value: 'bytes 0-999/1000000' },
  ] as const;
  for (const fault of faults) {
    await using s = await setup();
    s.registry.script({}, fault);
    assert.deepEqual(
      await s.blob.tail(1000),
      { data: bytes.subarray(-1000), size: bytes.length },
      JSON.stringify(fault),
    );
    assert.equal(s.registry.requests.length, 2, JSON.stringify(fault));
  }
});

test('tail() gives up after a bounded number of tries, with method, URL and status', async () => {
  await using s = await setup();
  s.registry.script({}, ...Array(10).fill({ kind: 'status', status: 502 }));
  await fails(
    s.blob.tail(10),
    'Unavailable',
    /^Cannot GET "http:\/\/127\.0\.0\.1:\d+\/v2\/team\/app\/blobs\/sha256:[0-9a-f]+": 502 Bad Gateway$/,
  );
  assert.equal(s.registry.requests.length, 4);
});

test('tail() waits as long as Retry-After says', async () => {
  await using s = await setup();
  s.registry.script(
    {},
    { kind: 'status', status: 429, headers: { 'retry-after': '1' }, body: '{"errors":[{"code":"TOOMANYREQUESTS"}]}' },
  );
  const startedMs = performance.now();
  await s.blob.tail(10);
  assert.ok(performance.now() - startedMs >= 990);
});

test('RemoteBlob has errors of the class of their status, and does not repeat permanent ones', async () => {
  const table: [number, ErrorCode][] = [
    [401, 'Unauthenticated'],
    [403, 'PermissionDenied'],
    [404, 'NotFound'],
    [405, 'Unimplemented'],
    [418, 'FailedPrecondition'],
  ];
  for (const [status, code] of table) {
    await using s = await setup();
    s.registry.script({}, { kind: 'status', status, body: '{"errors":[{"code":"WHY","message":"because"}]}' });
    await fails(s.blob.tail(10), code, new RegExp(`: ${status} .*\\(WHY: because\\)`));
    assert.equal(s.registry.requests.length, 1);
  }
});

test('RemoteBlob is Unavailable if the registry is not there', async () => {
  const s = await setup();
  await s.registry.close();
  await fails(s.blob.tail(10), 'Unavailable', /the connection was refused \(ECONNREFUSED\)/);
  await s.client.close();
});

test('range() streams exactly the bytes, with one request', async () => {
  await using s = await setup();
  assert.deepEqual(await read(s.blob.range(0, bytes.length)), bytes);
  assert.deepEqual(await read(s.blob.range(123, 456_789)), bytes.subarray(123, 456_789));
  assert.equal(s.registry.requests.length, 2);
  assert.deepEqual(await read(s.blob.range(5, 5)), Buffer.alloc(0));
  assert.equal(s.registry.requests.length, 2);
});

test('range() goes on from where a connection was lost', async () => {
  await using s = await setup();
  s.registry.script(
    {},
    { kind: 'reset', after: 300_000 },
    { kind: 'stall', after: 200_000 },
    { kind: 'short', bytes: 100_000 },
    { kind: 'reset', after: -1 },
  );
  assert.deepEqual(await read(s.blob.range(1000, 900_000)), bytes.subarray(1000, 900_000));
  assert.equal(s.registry.requests.length, 5);
  const [, second, third] = s.registry.requests.map(({ range }) => Number(/\d+/.exec(range ?? '')?.[0]));
  assert.ok(second! > 1000 && third! > second!);
});

test('range() survives more failures than tries if each brings bytes, and none if they do not', async () => {
  await using s = await setup();
  s.registry.script({}, ...Array(10).fill({ kind: 'short', bytes: 50_000, declared: true }));
  assert.deepEqual(await read(s.blob.range(0, 900_000)), bytes.subarray(0, 900_000));
  s.registry.script({}, ...Array(10).fill({ kind: 'short', bytes: 0 }));
  await fails(read(s.blob.range(0, 900_000)), 'Unavailable', /the Content-Length 0 is not that of bytes/);
});

test('range() refuses answers about other bytes', async () => {
  for (const value of ['bytes 0-999/1000000', 'bytes 500-1998/1000000', 'bytes 501-1499/1000000', 'nonsense']) {
    await using s = await setup();
    s.registry.script({}, ...Array(4).fill({ kind: 'content-range', value }));
    await fails(
      read(s.blob.range(500, 1500)),
      'Unavailable',
      /asked for bytes 500-1499, answered 206 with Content-Range/,
    );
  }
});

test('range() past the end and a blob whose size changes are DataLoss', async () => {
  await using s = await setup();
  await fails(read(s.blob.range(999_000, 1_000_001)), 'DataLoss', /the blob has only 1000000 bytes, not 1000001/);
  await fails(read(s.blob.range(2_000_000, 2_000_001)), 'DataLoss', /the blob has only 1000000 bytes/);
  await read(s.blob.range(0, 10));
  s.registry.script({}, { kind: 'content-range', value: 'bytes 0-9/2000000' });
  await fails(read(s.blob.range(0, 10)), 'DataLoss', /had 1000000 bytes and now has 2000000/);
});

test('describe() tells the size, and whether there are ranges', async () => {
  await using some = await setup();
  assert.deepEqual(await some.blob.describe(), { size: bytes.length, takesRanges: true });
  await using none = await setup({ ranges: false });
  assert.deepEqual(await none.blob.describe(), { size: bytes.length, takesRanges: false });
});

test('range() takes its part of a whole blob from a server that ignores ranges, if little is wasted', async () => {
  await using s = await setup({ ranges: false }, {}, Buffer.concat([bytes, bytes, bytes, bytes, bytes, bytes]));
  assert.deepEqual(
    await read(s.blob.range(999_990, 1_000_010)),
    Buffer.concat([bytes.subarray(-10), bytes.subarray(0, 10)]),
  );
  await fails(read(s.blob.range(5_000_000, 5_000_001)), 'FailedPrecondition', /the server ignores ranges/);
});

test('range() ends the request when the iteration ends early', async () => {
  await using s = await setup({}, {}, Buffer.alloc(20_000_000));
  for await (const chunk of s.blob.range(0, 20_000_000)) {
    assert.ok(chunk.length > 0);
    break;
  }
  await sleep(50);
  assert.equal(s.registry.requests[0]?.aborted, true);
  assert.ok(s.registry.bytes < 10_000_000);
});

test('range() can be ended while it waits, by return() and by the signal', async () => {
  await using s = await setup({}, { timeouts: { bodyIdleMs: 60_000 } });
  s.registry.script({}, { kind: 'stall', after: 1000 }, { kind: 'stall', after: 1000 });
  const iterator = s.blob.range(0, 5000)[Symbol.asyncIterator]();
  await iterator.next();
  const waiting = iterator.next();
  await iterator.return?.();
  assert.deepEqual(await waiting, { done: true, value: undefined });

  const controller = new AbortController();
  const reading = read(s.blob.range(0, 5000, controller.signal));
  setTimeout(() => controller.abort(), 50);
  await fails(reading, 'Canceled', /canceled/);
  await sleep(50);
  assert.deepEqual(
    s.registry.requests.map(({ aborted }) => aborted),
    [true, true],
  );
  await fails(s.blob.tail(10, AbortSignal.abort()), 'Canceled', /canceled/);
  s.registry.script({}, { kind: 'delay', ms: 200 });
  await fails(s.blob.tail(10, AbortSignal.timeout(1)), 'DeadlineExceeded', /./);
});

test('range() holds back the server when nobody reads', async () => {
  const size = 64 * 1024 * 1024;
  await using s = await setup({}, { timeouts: { bodyIdleMs: 200 } }, Buffer.alloc(size));
  const iterator = s.blob.range(0, size)[Symbol.asyncIterator]();
  await iterator.next();
  await sleep(600);
  assert.ok(s.registry.bytes < size / 2, `${s.registry.bytes} bytes were sent`);
  let received = 0;
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) received += next.value.length;
  assert.ok(received > 0);
  assert.equal(s.registry.requests.length, 1, 'a slow reader is no stalled server');
});

test('range() gives up on a server that only drips', async () => {
  await using s = await setup({}, { retry: { totalMs: 300, minBytesPerSecond: 1e5 } });
  for (const end of [1000, 1_000_000]) {
    s.registry.script({}, { kind: 'drip', bytes: 1, everyMs: 20 });
    await fails(read(s.blob.range(0, end)), 'DeadlineExceeded', /too slowly/);
  }
});

test('RemoteBlob follows a redirect once, remembers it, and asks again when it has expired', async () => {
  await using s = await setup({ redirect: true });
  await s.blob.tail(10);
  await read(s.blob.range(0, 10));
  assert.deepEqual(
    s.registry.requests.map(({ on }) => on),
    ['registry', 'storage', 'storage'],
  );
  s.registry.expireSignatures();
  assert.deepEqual(await read(s.blob.range(0, 10)), bytes.subarray(0, 10));
  assert.deepEqual(
    s.registry.requests.slice(3).map(({ on, status }) => `${on} ${status}`),
    ['storage 403', 'registry 307', 'storage 206'],
  );
});

test("RemoteBlob has the storage's own words in the error if a fresh redirect is refused, without the signature", async () => {
  await using s = await setup({ redirect: true });
  const body = '<Error><Code>AccessDenied</Code><Message>No</Message></Error>';
  s.registry.script({ on: 'storage' }, { kind: 'status', status: 403, body });
  await assert.rejects(s.blob.tail(10), (error) => {
    assert.match(explain(error), /403 Forbidden \(AccessDenied: No\); the registry "127.0.0.1:\d+" redirected there/);
    assert.doesNotMatch(messageOf(error), /signature/);
    return true;
  });
});

test('RemoteBlob asks mirrors in order before the origin, with their headers', async () => {
  await using s = await setup();
  await using mirror = await startRegistry();
  await using broken = await startRegistry();
  broken.script({}, ...Array(10).fill({ kind: 'status', status: 500 }));
  const hosts = {
    host: {
      [s.registry.host]: {
        mirrors: [{ host: broken.host }, { host: `${mirror.host}/proxy`, header: { 'X-Secret': 'yes' } }],
      },
    },
  };
  await using client = new RegistryClient({ ...quick, hosts });
  const digest = mirror.addBlob(bytes);
  const blob = client.blob(parseReference(`${s.registry.host}/team/app`), digest);
  await blob.tail(10);
  await blob.tail(10);
  assert.equal(broken.requests.length, 1);
  assert.equal(s.registry.requests.length, 0);
  assert.equal(
    mirror.requests[0]?.path,
    `/v2/proxy/team/app/blobs/${digest}?ns=${encodeURIComponent(s.registry.host)}`,
  );
  assert.equal(mirror.requests[0]?.headers['x-secret'], 'yes');
  mirror.blobs.clear();
  await blob.tail(10);
  assert.equal(s.registry.requests.length, 1);
});

test('RemoteBlob shares a bounded number of connections among many blobs', async () => {
  await using s = await setup();
  const reads = Array.from({ length: 100 }, (_, i) => read(s.blob.range(i * 10_000, (i + 1) * 10_000)));
  assert.deepEqual(Buffer.concat(await Promise.all(reads)), bytes);
  const ports = new Set(s.registry.requests.map(({ port }) => port));
  assert.ok(ports.size <= 16, `${ports.size} connections`);
});

async function readParts(chunks: AsyncIterable<{ part: number; data: Buffer }>): Promise<Buffer[]> {
  const parts: Buffer[][] = [];
  let last = 0;
  for await (const { part, data } of chunks) {
    assert.ok(part >= last, 'part after part');
    last = part;
    (parts[part] ??= []).push(data);
  }
  return Array.from(parts, (pieces) => Buffer.concat(pieces ?? []));
}

const three = [
  { start: 10, end: 200_000 },
  { start: 300_000, end: 300_001 },
  { start: 500_000, end: 1_000_000 },
];
const threeParts = three.map(({ start, end }) => bytes.subarray(start, end));

test('ranges() is one request if the server takes several ranges, else one for each, and remembers', async () => {
  for (const [severalRanges, requests, later] of [
    ['serve', 1, 1],
    ['refuse', 4, 3],
    ['ignore', 4, 3],
  ] as const) {
    for (const redirect of [false, true]) {
      await using s = await setup({ severalRanges, redirect });
      assert.deepEqual(await readParts(s.blob.ranges(three)), threeParts);
      assert.equal(s.registry.count({ on: redirect ? 'storage' : 'registry' }), requests, severalRanges);
      s.registry.resetCounts();
      assert.deepEqual(await readParts(s.blob.ranges(three)), threeParts);
      assert.equal(s.registry.count(), later, severalRanges);
    }
  }
});

test('ranges() goes on from where a connection was lost, in the middle of a part', async () => {
  await using s = await setup();
  s.registry.script(
    {},
    { kind: 'reset', after: 100_000 },
    { kind: 'reset', after: 150_000 },
    { kind: 'stall', after: 50 },
  );
  assert.deepEqual(await readParts(s.blob.ranges(three)), threeParts);
  assert.equal(s.registry.requests.length, 4);
  assert.match(s.registry.requests[1]?.range ?? '', /^bytes=\d{4,}-199999,300000-300000,500000-999999$/);
});

test('ranges() asks for single ranges if a server answers several with other bytes or without boundaries', async () => {
  for (const body of [
    '',
    'nonsense',
    '--x--',
    '--x\r\nContent-Range: bytes 5-5/9\r\n\r\nz\r\n--x--',
    '--x\r\n\r\n',
    '--x\r\nContent-Range: bytes 900-901/1000000\r\n\r\nzz\r\n--x--',
  ]) {
    await using s = await setup();
    s.registry.script(
      {},
      { kind: 'status', status: 206, headers: { 'content-type': 'multipart/byteranges; boundary="x"' }, body },
    );
    const read = readParts(s.blob.ranges(three));
    if (body.includes('/9')) await fails(read, 'DataLoss', /./);
    else assert.deepEqual(await read, threeParts, JSON.stringify(body));
  }
});

test('ranges() does not believe a size for ever that one answer told', async () => {
  await using s = await setup();
  const headers = { 'content-type': 'multipart/byteranges; boundary=x' };
  const body = '--x\r\nContent-Range: bytes 5-5/9\r\n\r\nz\r\n--x--';
  s.registry.script({}, ...Array(4).fill({ kind: 'status', status: 206, headers, body }));
  const parts = [
    { start: 0, end: 10 },
    { start: 500, end: 510 },
  ];
  await fails(readParts(s.blob.ranges(parts)), 'DataLoss', /had 9 bytes|only 9 bytes/);
  s.registry.forgetFaults();
  await readParts(s.blob.ranges(parts)).catch(() => undefined);
  assert.deepEqual(await read(s.blob.range(0, 1000)), bytes.subarray(0, 1000));
});

test('ranges() splits what is too much for one request, skips empty parts, and refuses what is no list of ranges', async () => {
  await using s = await setup();
  const parts = Array.from({ length: 200 }, (_, i) => ({ start: i * 5000, end: i * 5000 + (i % 3) }));
  const expected = parts.map(({ start, end }) => bytes.subarray(start, end));
  const got = await readParts(s.blob.ranges(parts));
  assert.deepEqual(
    expected.map((_, i) => got[i] ?? Buffer.alloc(0)),
    expected,
  );
  assert.equal(s.registry.requests.length, 3);
  assert.deepEqual(await readParts(s.blob.ranges([])), []);
  for (const wrong of [
    [{ start: 5, end: 4 }],
    [{ start: -1, end: 4 }],
    [
      { start: 0, end: 4 },
      { start: 3, end: 5 },
    ],
    [{ start: 0, end: Number.NaN }],
  ]) {
    assert.throws(() => s.blob.ranges(wrong), /Cannot read a part of a blob/);
  }
});

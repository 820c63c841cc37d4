import type { CredentialSource } from '../../../src/registry/auth/credentials/credential-source.ts';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { silentLog } from '../../../src/log.ts';
import { BlobStore } from '../../../src/mirror/blob-store.ts';
import { mirrorMetrics } from '../../../src/mirror/metrics.ts';
import { serveMirror } from '../../../src/mirror/mirror-server.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import { digestOf, type RegistryOptions, startRegistry } from '../../support/registry.ts';
import { knownUser } from '../../support/known-user.ts';
import { until } from '../../support/until.ts';

const mib = 1 << 20;
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType }));

interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A registry and a mirror before it that listens at `host`. `get` asks the mirror for a path of the registry. */
async function setUp(
  t: TestContext,
  options: RegistryOptions = {},
  host = '127.0.0.1',
  credentials: CredentialSource[] = [],
) {
  const registry = await startRegistry(options);
  const root = await mkdtemp(join(tmpdir(), 'lazypull-mirror-'));
  const metrics = mirrorMetrics();
  const store = await BlobStore.open(root, { hasRoom: () => true, onGrowth() {} }, metrics, silentLog);
  const client = new RegistryClient({
    credentials,
    retry: { tries: 2, minDelayMs: 1, maxDelayMs: 2 },
    timeouts: { headersMs: 500, bodyIdleMs: 500 },
    environment: {},
  });
  const mirror = await serveMirror({ address: { host, port: 0 }, registry: client, store, metrics, log: silentLog });
  t.after(async () => {
    await mirror[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await client.close();
    await registry.close();
    await rm(root, { recursive: true });
  });
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answered> =>
    ask(mirror.port, `${path}${path.includes('?') ? '' : `?ns=${registry.host}`}`, headers, method);
  const dataOf = (digest: string) => join(root, 'blobs', digest.slice('sha256:'.length), 'data');
  return { registry, mirror, metrics, get, dataOf };
}

/** One request. Rejects if the answer ends before all of it has come. */
async function ask(port: number, path: string, headers: Record<string, string>, method: string): Promise<Answered> {
  const sent = request({ host: '127.0.0.1', port, path, headers, method, agent: false }).end();
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  const body = Buffer.concat((await Array.fromAsync(answer)) as Buffer[]);
  return { status: answer.statusCode ?? 0, headers: answer.headers, body };
}

test('serveMirror gives blobs, whole and in parts, and asks the registry once', async (t) => {
  const { registry, get, metrics } = await setUp(t);
  const content = randomBytes(10 * mib);
  const digest = registry.addBlob(content);
  const head = await get(`/v2/a/blobs/${digest}`, {}, 'HEAD');
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, String(10 * mib), 0]);
  const part = await get(`/v2/a/blobs/${digest}`, { range: 'bytes=5000000-' });
  assert.deepEqual([part.status, part.headers['content-range']], [206, `bytes 5000000-${10 * mib - 1}/${10 * mib}`]);
  assert.ok(part.body.equals(content.subarray(5_000_000)));
  for (let time = 0; time < 2; time++) {
    const { status, headers, body } = await get(`/v2/a/blobs/${digest}`);
    assert.deepEqual(
      [status, headers['docker-content-digest'], headers['content-length']],
      [200, digest, `${10 * mib}`],
    );
    assert.ok(body.equals(content));
  }
  const past = await get(`/v2/a/blobs/${digest}`, { range: `bytes=${10 * mib}-` });
  assert.deepEqual([past.status, past.headers['content-range']], [416, `bytes */${10 * mib}`]);
  const sent = registry.requests.reduce((sum, { bytes }) => sum + bytes, 0);
  assert.equal(sent, 10 * mib);
  const [fromNode, fromRegistry] = (await metrics.sentBytes.lines()).map((line) => Number(line.split(' ')[1]));
  assert.equal(fromNode! + fromRegistry!, 25 * mib + 5 * mib - 5_000_000 + 0);
});

test('serveMirror gives an empty blob', async (t) => {
  const { registry, get } = await setUp(t);
  const { status, body } = await get(`/v2/a/blobs/${registry.addBlob(Buffer.alloc(0))}`);
  assert.deepEqual([status, body.length], [200, 0]);
});

test('serveMirror asks for a tag each time, and for a digest once', async (t) => {
  const { registry, get } = await setUp(t);
  const digest = registry.addManifest('a', 'x', manifestType, manifest);
  for (const method of ['HEAD', 'HEAD', 'GET', 'GET']) {
    const { status, headers, body } = await get('/v2/a/manifests/x', { accept: 'x/y' }, method);
    assert.deepEqual([status, headers['docker-content-digest'], headers['content-type']], [200, digest, manifestType]);
    assert.equal(headers['content-length'], String(manifest.length));
    assert.ok(method === 'HEAD' ? body.length === 0 : body.equals(manifest));
  }
  assert.deepEqual(
    registry.requests.map(({ method, headers }) => [method, headers.accept]),
    [
      ['HEAD', 'x/y'],
      ['HEAD', 'x/y'],
      ['GET', 'x/y'],
      ['GET', 'x/y'],
    ], // prettier-ignore
  );
  const other = Buffer.from(`${manifest.toString()} `);
  const otherDigest = registry.addManifest('a', 'x', manifestType, other);
  assert.equal((await get('/v2/a/manifests/x')).headers['docker-content-digest'], otherDigest);
  registry.resetCounts();
  for (const wanted of [digest, otherDigest]) {
    assert.equal((await get(`/v2/a/manifests/${wanted}`)).headers['docker-content-digest'], wanted);
    assert.equal((await get(`/v2/a/manifests/${wanted}`, {}, 'HEAD')).status, 200);
  }
  assert.deepEqual(registry.requests, []);
});

test('serveMirror uses the credentials of the node, never those of a client', async (t) => {
  const credentials = [knownUser({ username: 'me', password: 'secret' })];
  const { registry, get } = await setUp(t, { auth: 'token', users: { me: 'secret' } }, '127.0.0.1', credentials);
  const digest = registry.addBlob(randomBytes(10));
  registry.addManifest('a', 'x', manifestType, manifest);
  const headers = { authorization: 'Basic bWU6d3Jvbmc=' };
  for (const path of [`blobs/${digest}`, 'manifests/x']) {
    assert.equal((await get(`/v2/a/${path}`, headers)).status, 200);
    assert.equal((await get(`/v2/a/${path}`, headers, 'HEAD')).status, 200);
  }
});

test('serveMirror tells a client that nothing is there if the node may not read it', async (t) => {
  const { registry, get } = await setUp(t, { auth: 'basic', users: { me: 'secret' } });
  const digest = registry.addBlob(randomBytes(10));
  const headers = { authorization: `Basic ${Buffer.from('me:secret').toString('base64')}` };
  assert.equal((await get(`/v2/a/blobs/${digest}`, headers)).status, 404);
  assert.equal((await get('/v2/a/manifests/x')).status, 404);
  assert.equal((await get(`/v2/a/blobs/${digestOf(Buffer.from('x'))}`)).status, 404);
});

test('serveMirror tells a client why it gets nothing, so that it asks the registry', async (t) => {
  const { registry, get } = await setUp(t);
  assert.equal((await get(`/v2/a/blobs/${digestOf(Buffer.from('x'))}`)).status, 404);
  assert.equal((await get('/v2/a/manifests/x')).status, 404);
  assert.equal((await get('/v2/a/tags/list')).status, 404);
  assert.equal((await get('/v2/a/manifests/x?x=y')).status, 400);
  assert.equal((await get('/v2/')).status, 200);
  await registry.die();
  const { status, body } = await get('/v2/a/manifests/x');
  assert.equal(status, 503);
  assert.match(body.toString(), /^\{"errors":\[\{"code":"UNKNOWN","message":"Cannot GET /);
});

test('serveMirror never gives all of a blob without its digest, and gives the next client the right one', async (t) => {
  const { registry, get } = await setUp(t);
  const content = randomBytes(3 * mib);
  const digest = registry.addBlob(content);
  await get(`/v2/a/blobs/${digest}`, {}, 'HEAD');
  registry.script({ path: /blobs/ }, { kind: 'corrupt' });
  await assert.rejects(get(`/v2/a/blobs/${digest}`), { code: 'ECONNRESET' });
  assert.ok((await get(`/v2/a/blobs/${digest}`)).body.equals(content));
});

test('serveMirror fetches a blob again that was damaged on the disk', async (t) => {
  const { registry, get, dataOf } = await setUp(t);
  const content = randomBytes(3 * mib);
  const spoil = async (digest: string): Promise<void> => {
    await using file = await open(dataOf(digest), 'r+');
    await file.write(Buffer.from([content[mib]! ^ 1]), 0, 1, mib);
  };
  const digest = registry.addBlob(content);
  await get(`/v2/a/blobs/${digest}`);
  await spoil(digest);
  await assert.rejects(get(`/v2/a/blobs/${digest}`), { code: 'ECONNRESET' });
  assert.ok((await get(`/v2/a/blobs/${digest}`)).body.equals(content));
  await spoil(digest);
  assert.equal((await get(`/v2/a/blobs/${digest}`, { range: 'bytes=0-9' })).status, 503);
  assert.ok((await get(`/v2/a/blobs/${digest}`, { range: 'bytes=0-9' })).body.equals(content.subarray(0, 10)));
});

test('serveMirror goes on for others if a client goes away, and gives the rest to one that asks for it', async (t) => {
  const { registry, get, mirror } = await setUp(t);
  const content = randomBytes(12 * mib);
  const digest = registry.addBlob(content);
  registry.script(
    { path: /blobs/, method: 'GET' },
    { kind: 'delay', ms: 0 },
    { kind: 'drip', bytes: 65536, everyMs: 1 },
  );
  const socket = connect(mirror.port, '127.0.0.1');
  socket.write(`GET /v2/a/blobs/${digest}?ns=${registry.host} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
  await once(socket, 'data');
  socket.destroy();
  assert.ok((await get(`/v2/a/blobs/${digest}`, { range: 'bytes=1000-' })).body.equals(content.subarray(1000)));
  assert.ok((await get(`/v2/a/blobs/${digest}`)).body.equals(content));
  assert.equal(registry.bytes, content.length);
});

test('serveMirror only reads, under its own names, and serves no other lazypull', async (t) => {
  const { registry, get, mirror } = await setUp(t);
  const digest = registry.addBlob(randomBytes(10));
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    assert.equal((await get(`/v2/a/blobs/${digest}`, {}, method)).status, 405, method);
  }
  for (const host of ['evil.example', `evil.example:${mirror.port}`, 'localhost.evil.example']) {
    assert.equal((await get(`/v2/a/blobs/${digest}`, { host })).status, 421, host);
  }
  for (const host of ['localhost', `localhost:${mirror.port}`, '127.0.0.1', `[::1]:${mirror.port}`]) {
    assert.equal((await get(`/v2/a/blobs/${digest}`, { host })).status, 200, host);
  }
  assert.equal((await get(`/v2/a/blobs/${digest}`, { 'user-agent': 'lazypull/9.9.9' })).status, 508);
  assert.equal((await get(`/v2/a/manifests/x`, { accept: 'x'.repeat(5000) })).status, 400);
});

test('serveMirror refuses requests that another program could take in another way', async (t) => {
  const { mirror } = await setUp(t);
  const host = `Host: 127.0.0.1:${mirror.port}\r\n`;
  for (const headers of [
    `${host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n`,
    `${host}Transfer-Encoding: xchunked\r\n`,
    `${host}Transfer-Encoding: chunked\r\n`,
    `${host}Content-Length: 5\r\nContent-Length: 6\r\n`,
    `${host}Host: evil.example\r\n`,
    '',
  ]) {
    const answer = await rawAnswer(
      mirror.port,
      `GET /v2/ HTTP/1.1\r\n${headers}\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\n${host}\r\n`,
    );
    assert.match(answer, /^HTTP\/1\.1 400 /, headers);
    assert.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1, `${headers}: ${answer}`);
  }
});

/** All that comes on a connection until the other side ends it. */
async function rawAnswer(port: number, request: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(request);
  return text(socket);
}

test('serveMirror answers no browser', async (t) => {
  const { registry, get } = await setUp(t);
  const digest = registry.addBlob(randomBytes(10));
  registry.addManifest('a', 'x', manifestType, manifest);
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'none' },
    { 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Mode': 'no-cors' },
  ] as Record<string, string>[]) {
    for (const path of [`/v2/a/blobs/${digest}`, '/v2/a/manifests/x', '/v2/']) {
      const { status, body, headers: sent } = await get(path, headers);
      assert.deepEqual([status, sent['access-control-allow-origin']], [403, undefined], JSON.stringify(headers));
      assert.match(body.toString(), /serves no browser/);
    }
  }
  assert.deepEqual(registry.requests, []);
  assert.equal((await get(`/v2/a/blobs/${digest}`, { 'sec-fetch-mode': 'cors' })).status, 200, 'a program');
});

test('serveMirror lets no silent, half-spoken or idle connections keep a client out', async (t) => {
  const { registry, get, mirror } = await setUp(t);
  const digest = registry.addBlob(randomBytes(10));
  const sockets: Socket[] = [];
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  for (const said of ['', 'GET /v2/ HT', 'GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n']) {
    for (let i = 0; i < 600; i++) {
      const socket = connect(mirror.port, '127.0.0.1').on('error', () => {});
      sockets.push(socket);
      await once(socket, 'connect');
      socket.write(said);
      if (i % 100 === 0) assert.equal((await get(`/v2/a/blobs/${digest}`)).status, 200);
    }
    assert.equal((await get(`/v2/a/blobs/${digest}`)).status, 200, said);
  }
});

test('serveMirror lets clients that do not read their answers give way to one that does', {
  timeout: 60_000,
}, async (t) => {
  const { registry, get, mirror } = await setUp(t);
  const content = randomBytes(24 * mib);
  const digest = registry.addBlob(content);
  const whole = async () => (await get(`/v2/a/blobs/${digest}`)).body.equals(content);
  assert.ok(await whole());
  const request = `GET /v2/a/blobs/${digest}?ns=${registry.host} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
  const sockets = Array.from({ length: 140 }, () => connect(mirror.port, '127.0.0.1').on('error', () => {}));
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  // Each sends several at once, of which some are answered before they are read.
  for (const socket of sockets) socket.pause().write(request.repeat(3));
  const refused = await get('/v2/');
  assert.ok([200, 503].includes(refused.status));
  // The test's own time-out ends this if they never do. How long they keep the mirror waiting is known only when their
  // answers have begun.
  for (let i = 0; i < 3; i++) await until(whole);
});

test('serveMirror does not give one connection all requests', async (t) => {
  const { registry, get, mirror } = await setUp(t);
  const digest = registry.addBlob(randomBytes(8 * mib));
  await get(`/v2/a/blobs/${digest}`);
  const socket = connect(mirror.port, '127.0.0.1').on('error', () => {});
  t.after(() => socket.destroy());
  const path = `/v2/a/blobs/${digest}?ns=${registry.host}`;
  socket.pause().write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`.repeat(300));
  for (let i = 0; i < 10; i++) assert.equal((await get('/v2/')).status, 200);
});

test('serveMirror is no way to what only this machine can reach', async (t) => {
  const { registry, get } = await setUp(t, {}, '0.0.0.0');
  const digest = registry.addBlob(randomBytes(10));
  for (const ns of ['169.254.169.254', 'fd00:ec2::254', '[fd00:ec2::254]', '100.100.100.200']) {
    assert.ok([400, 404].includes((await get(`/v2/a/blobs/${digest}?ns=${encodeURIComponent(ns)}`)).status), ns);
  }
  for (const ns of [registry.host, 'localhost', '127.1', '0.0.0.0', '[::1]:80', '2130706433']) {
    assert.ok([400, 404].includes((await get(`/v2/a/blobs/${digest}?ns=${encodeURIComponent(ns)}`)).status), ns);
  }
  assert.deepEqual(registry.requests, [], 'a registry of this machine was asked for somebody who may be elsewhere');
});

test('serveMirror survives nonsense', async (t) => {
  const { mirror, get } = await setUp(t);
  for (const nonsense of ['\0\0\0\0', `GET /v2/ HTTP/1.1\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`, 'GET /\r\n\r\n']) {
    const socket = connect(mirror.port, '127.0.0.1');
    socket.on('error', () => {}).resume();
    socket.write(nonsense);
    await once(socket, 'close');
  }
  assert.equal((await get('/v2/')).status, 200);
});

test('serveMirror says what to do if its address is taken', async (t) => {
  const { mirror } = await setUp(t);
  const options = { address: { host: '127.0.0.1', port: mirror.port }, metrics: mirrorMetrics(), log: silentLog };
  await assert.rejects(serveMirror({ ...options, registry: new RegistryClient(), store: {} as BlobStore }), {
    code: 'FailedPrecondition',
    message: /choose another --mirror-address/,
  });
});

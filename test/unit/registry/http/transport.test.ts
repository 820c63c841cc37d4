import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import { codeOf, messageOf } from '../../../../src/errors.ts';
import { RegistryClient, type RegistryClientOptions } from '../../../../src/registry/client.ts';
import type { HostsConfig } from '../../../../src/registry/hosts/hosts.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { type RegistryOptions, startRegistry, type TestRegistry } from '../../../support/registry.ts';
import { testTls } from '../../../support/tls.ts';

const bytes = randomBytes(300_000);
const quick: RegistryClientOptions = {
  retry: { tries: 3, minDelayMs: 1, maxDelayMs: 2 },
  timeouts: { connectMs: 500, headersMs: 300, bodyIdleMs: 300 },
  environment: {},
};

/** 127.0.0.1 is plain HTTP by default, so https is asked for as a mirror of the same name. */
function secureHosts(registry: TestRegistry): HostsConfig {
  return { host: { [registry.host]: { mirrors: [{ host: `https://${registry.host}` }] } } };
}

async function readAll(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

const secure: RegistryOptions = { tls: testTls, redirect: true };

test('Transport uses one HTTP/2 connection for https if the server has it', async () => {
  await using registry = await startRegistry(secure);
  await using client = new RegistryClient({ ...quick, hosts: secureHosts(registry), certificates: [testTls.cert] });
  const blob = client.blob(parseReference(`${registry.host}/a`), registry.addBlob(bytes));
  assert.equal((await blob.tail(10)).size, bytes.length);
  const parts = await Promise.all(
    Array.from({ length: 30 }, (_, i) => readAll(blob.range(i * 10_000, (i + 1) * 10_000))),
  );
  assert.deepEqual(Buffer.concat(parts), bytes);
  assert.equal(registry.requests[0]?.httpVersion, '2.0');
  const storage = registry.requests.filter(({ on }) => on === 'storage');
  assert.equal(new Set(storage.map(({ port }) => port)).size, 1);
});

test('Transport survives HTTP/2 answers that stall, and readers that stop', async () => {
  await using registry = await startRegistry({ tls: testTls });
  await using client = new RegistryClient({ ...quick, hosts: secureHosts(registry), certificates: [testTls.cert] });
  const blob = client.blob(parseReference(`${registry.host}/a`), registry.addBlob(bytes));
  registry.script({}, { kind: 'stall', after: 1000 }, { kind: 'stall', after: -1 });
  assert.deepEqual(await readAll(blob.range(0, 200_000)), bytes.subarray(0, 200_000));
  assert.equal(registry.requests.length, 3);
  for await (const _ of blob.range(0, 200_000)) break;
  assert.deepEqual((await blob.tail(5)).data, bytes.subarray(-5));
});

test('Transport is Unavailable at once for an untrusted certificate', async () => {
  await using registry = await startRegistry(secure);
  await using client = new RegistryClient({ ...quick, hosts: secureHosts(registry) });
  const blob = client.blob(parseReference(`${registry.host}/a`), registry.addBlob(bytes));
  await assert.rejects(
    blob.tail(5),
    (error) => codeOf(error) === 'Unavailable' && /self-signed certificate/.test(messageOf(error)),
  );
  assert.equal(client.counters.requests, 1);
});

test('Transport says so if https meets a server in plain HTTP', async () => {
  await using registry = await startRegistry();
  await using client = new RegistryClient({ ...quick, hosts: secureHosts(registry) });
  const blob = client.blob(parseReference(`${registry.host}/a`), registry.addBlob(bytes));
  await assert.rejects(blob.tail(5), /the server speaks plain HTTP, not TLS/);
});

test('Transport uses proxies of the environment, but not for NO_PROXY and this machine', async () => {
  await using registry = await startRegistry();
  const seen: string[] = [];
  const proxy = createServer((incoming, outgoing) => {
    seen.push(`${incoming.method} ${incoming.url}`);
    const target = new URL(incoming.url ?? '');
    const { method, headers } = incoming;
    const options = { host: '127.0.0.1', port: registry.host.split(':')[1], path: target.pathname, method, headers };
    incoming.pipe(
      request(options, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 0, answer.headers);
        answer.pipe(outgoing);
      }),
    );
  });
  proxy.on('connect', (incoming, socket) => {
    seen.push(`CONNECT ${incoming.url}`);
    const upstream = connect(Number(registry.host.split(':')[1]), '127.0.0.1', () =>
      socket.write('HTTP/1.1 200 OK\r\n\r\n'),
    );
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
    upstream.pipe(socket).pipe(upstream);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const environment = { http_proxy: address, HTTPS_PROXY: address, no_proxy: 'direct.invalid' };
  const hosts = { host: { 'reg.invalid': { mirrors: [{ host: 'reg.invalid', insecure: true }] } } };
  await using client = new RegistryClient({ ...quick, environment, hosts });
  const digest = registry.addBlob(bytes);
  assert.equal((await client.blob(parseReference('reg.invalid/a'), digest).tail(5)).size, bytes.length);
  assert.deepEqual(seen, [`GET http://reg.invalid/v2/a/blobs/${digest}`]);
  await client.blob(parseReference(`${registry.host}/a`), digest).tail(5);
  await assert.rejects(client.blob(parseReference('direct.invalid/a'), digest).tail(5));
  assert.equal(seen.length, 1);
  const throughIt = /secure\.invalid\/.* through the proxy "127\.0\.0\.1:/;
  await assert.rejects(client.blob(parseReference('secure.invalid/a'), digest).tail(5), throughIt);
  assert.equal(seen[1], 'CONNECT secure.invalid:443');
  proxy.closeAllConnections();
  proxy.close();
});

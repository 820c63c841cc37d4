import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { errors } from 'undici';
import { codeOf, messageOf } from '../../../../src/errors.ts';
import { RegistryClient, type RegistryClientOptions } from '../../../../src/registry/client.ts';
import { networkError } from '../../../../src/registry/errors.ts';
import { Hosts } from '../../../../src/registry/hosts/hosts.ts';
import { routeFrom } from '../../../../src/registry/http/redirect.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { anyCertificate } from '../../../../src/registry/http/tls.ts';
import { startRegistry, type TestRegistry } from '../../../support/registry.ts';
import { testTls } from '../../../support/tls.ts';
import { knownUser } from '../../../support/known-user.ts';

const type = 'application/vnd.oci.image.manifest.v1+json';
const manifest = Buffer.from(JSON.stringify({ mediaType: type }));
const quick: RegistryClientOptions = {
  retry: { tries: 2, minDelayMs: 1, maxDelayMs: 2 },
  timeouts: { connectMs: 1_000, headersMs: 1_000 },
  environment: {},
};

function local(registry: TestRegistry): string {
  return registry.host.replace('127.0.0.1', 'localhost');
}

test('Schemes finds out that a registry of this machine speaks TLS, with any certificate, and remembers it', async () => {
  await using registry = await startRegistry({ tls: testTls, auth: 'token', users: { me: 'pw' } });
  const digest = registry.addBlob(Buffer.from('some bytes'));
  registry.addManifest('app', '1', type, manifest);
  const sent: string[] = [];
  const credentials = [knownUser({ username: 'me', password: 'pw' }, (host) => sent.push(host) > 0)];
  await using client = new RegistryClient({ ...quick, credentials });
  const reference = parseReference(`${local(registry)}/app:1`);
  const blob = client.blob(reference, digest);
  assert.equal((await blob.tail(5)).data.toString(), 'bytes');
  const before = client.counters.requests;
  assert.deepEqual((await client.manifest(reference)).bytes, manifest);
  assert.equal(client.counters.requests, before + 1, 'it is not asked in plain HTTP again');
  assert.equal((await blob.tail(5)).size, 10);
  await client.pushBlob(reference, { digest, size: 10 }, Buffer.from('some bytes'));
  await client.pushManifest({ ...reference, tag: '2' }, type, manifest);
  assert.ok(registry.manifests.has('app:2'));
  assert.deepEqual([...new Set(sent)], [local(registry)]);
});

test('Schemes works even if a push is the first request to such a registry', async () => {
  await using registry = await startRegistry({ tls: testTls });
  await using client = new RegistryClient(quick);
  await client.pushManifest(parseReference(`${registry.host}/app:1`), type, manifest);
  assert.ok(registry.manifests.has('app:1'));
});

/** A TLS server that answers plain HTTP with 400, as those of Go, nginx and Apache do. */
async function startPolite(): Promise<{ host: string } & AsyncDisposable> {
  const tls = createTlsServer(testTls, (_, response) =>
    response.writeHead(200, { 'content-type': type }).end(manifest),
  );
  await new Promise<void>((resolve) => tls.listen(0, '127.0.0.1', resolve));
  const sockets = new Set<Socket>();
  const front = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', (first: Buffer) => {
      if (first[0] !== 0x16)
        return socket.end('HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n');
      const inner = connect((tls.address() as AddressInfo).port, '127.0.0.1');
      inner.on('error', () => socket.destroy());
      inner.write(first);
      socket.pipe(inner).pipe(socket);
    });
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(front.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      tls.closeAllConnections();
      await Promise.all([front, tls].map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}

test('Schemes recognizes a TLS server that answers plain HTTP with 400', async () => {
  await using server = await startPolite();
  await using client = new RegistryClient(quick);
  assert.deepEqual((await client.manifest(parseReference(`${server.host}/app:1`))).bytes, manifest);
});

test('Schemes keeps plain HTTP, whatever the registry answers', async () => {
  await using registry = await startRegistry();
  registry.addManifest('app', '1', type, manifest);
  const reference = parseReference(`${local(registry)}/app:1`);
  for (const fault of [{ kind: 'reset', after: -1 } as const, { kind: 'status', status: 503 } as const]) {
    await using client = new RegistryClient(quick);
    registry.script({}, fault);
    assert.deepEqual((await client.manifest(reference)).bytes, manifest);
  }
  await using client = new RegistryClient(quick);
  registry.script({}, { kind: 'status', status: 400, body: '{"errors":[{"code":"NAME_INVALID"}]}' });
  await assert.rejects(
    client.manifest(reference),
    /^RegistryError: Cannot GET "http:.*400 Bad Request \(NAME_INVALID\)/,
  );
});

test('Schemes finds a registry again that comes back with the other scheme', async () => {
  await using plain = await startRegistry();
  plain.addManifest('app', '1', type, manifest);
  await using client = new RegistryClient(quick);
  const reference = parseReference(`${plain.host}/app:1`);
  const port = Number(plain.host.split(':')[1]);
  const serve = async (): Promise<Buffer> => (await client.manifest(reference)).bytes;
  assert.deepEqual(await serve(), manifest);
  await plain.die();
  const tls = createTlsServer(testTls, (_, response) =>
    response.writeHead(200, { 'content-type': type }).end(manifest),
  );
  await new Promise<void>((resolve) => tls.listen(port, '127.0.0.1', resolve));
  await assert.rejects(serve(), 'for a minute what it spoke last is believed, unless it answers with something else');
  tls.closeAllConnections();
  await new Promise((resolve) => tls.close(resolve));

  await using secure = await startRegistry({ tls: testTls });
  secure.addManifest('app', '1', type, manifest);
  const other = parseReference(`${secure.host}/app:1`);
  assert.deepEqual((await client.manifest(other)).bytes, manifest);
  await secure.die();
  const http = createHttpServer((_, response) => response.writeHead(200, { 'content-type': type }).end(manifest));
  await new Promise<void>((resolve) => http.listen(Number(secure.host.split(':')[1]), '127.0.0.1', resolve));
  assert.deepEqual((await client.manifest(other)).bytes, manifest);
  http.closeAllConnections();
  await new Promise((resolve) => http.close(resolve));
});

test('Schemes says so if a port of this machine speaks neither', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end('SSH-2.0-OpenSSH_9.9\r\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `localhost:${(server.address() as AddressInfo).port}`;
  t.after(() => server.close());
  await using client = new RegistryClient(quick);
  await assert.rejects(client.manifest(parseReference(`${host}/app:1`)), (error) => {
    assert.match(
      messageOf(error),
      new RegExp(`^Cannot reach the registry "${host}": over http, the answer is not HTTP; over https, .* not TLS`),
    );
    return codeOf(error) === 'Unavailable';
  });
});

test('Schemes keeps a scheme that the configuration names, and its certificates', async (t) => {
  await using secure = await startRegistry({ tls: testTls });
  await using plain = await startRegistry();
  for (const registry of [secure, plain]) registry.addManifest('app', '1', type, manifest);
  const ask = async (registry: TestRegistry, hosts: RegistryClientOptions['hosts']): Promise<Buffer> => {
    await using client = new RegistryClient({ ...quick, ...(hosts === undefined ? {} : { hosts }) });
    return (await client.manifest(parseReference(`${registry.host}/app:1`))).bytes;
  };
  const mirrored = (registry: TestRegistry, mirror: { host: string; insecure?: boolean }) => ({
    host: { [registry.host]: { mirrors: [mirror] } },
  });
  await assert.rejects(ask(plain, mirrored(plain, { host: `https://${plain.host}` })), /plain HTTP/);
  await assert.rejects(ask(secure, mirrored(secure, { host: `https://${secure.host}` })), /certificate/);
  await assert.rejects(ask(secure, mirrored(secure, { host: secure.host, insecure: true })));
  assert.deepEqual(await ask(secure, mirrored(secure, { host: secure.host })), manifest);

  const directory = await mkdtemp(join(tmpdir(), 'lazypull-schemes-'));
  t.after(() => rm(directory, { recursive: true }));
  for (const registry of [secure, plain]) {
    await mkdir(join(directory, registry.host));
    await writeFile(join(directory, registry.host, 'ca.crt'), testTls.cert);
    assert.deepEqual(await ask(registry, { config_path: directory }), manifest, 'https first, then http');
  }
});

test('Schemes keeps a scheme of hosts.toml, even if the registry was asked before the file was there', async (t) => {
  await using secure = await startRegistry({ tls: testTls });
  await using plain = await startRegistry();
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-schemes-'));
  t.after(() => rm(directory, { recursive: true }));
  for (const [registry, scheme, others] of [
    [secure, 'https', `skip_verify = true\n`],
    [plain, 'http', ''],
  ] as const) {
    registry.addManifest('app', '1', type, manifest);
    const host = local(registry);
    await mkdir(join(directory, host));
    const isTaken = async (client: RegistryClient, text: string): Promise<boolean> => {
      await writeFile(join(directory, host, 'hosts.toml'), text);
      return client.manifest(parseReference(`${host}/app:1`)).then(
        () => true,
        () => false,
      );
    };
    for (const isKnown of [false, true]) {
      await using client = new RegistryClient({ ...quick, hosts: { config_path: directory } });
      if (isKnown) assert.ok(await isTaken(client, ''));
      for (const named of ['http', 'https']) {
        const text = `server = "${named}://${host}"\n${named === 'https' ? others : ''}`;
        assert.equal(await isTaken(client, text), named === scheme, `${scheme} with ${text}`);
      }
    }
  }
});

test('Schemes tries both for names of this machine, and only https for all others', async () => {
  const hosts = new Hosts();
  const first = async (host: string): Promise<string> => (await hosts.endpoints(host))[0]!.base;
  assert.equal(await first('localhost:443'), 'https://localhost/v2/');
  assert.equal(await first('localhost:80'), 'http://localhost/v2/');
  for (const [host, isEither] of [
    ['localhost:5000', true],
    ['[::1]:5000', true],
    ['127.9.9.9:443', true],
    ['localhost:80', false],
    ['reg.example:5000', false],
    ['localhost.example:5000', false],
    ['10.0.0.1:5000', false],
  ] as const) {
    const endpoint = (await hosts.endpoints(host))[0]!;
    const error = new errors.HTTPParserError('x');
    const outcome = { error: networkError({ method: 'GET', url: new URL(endpoint.base) }, error) };
    assert.equal(hosts.schemes.other(endpoint, outcome) !== undefined, isEither, host);
  }
});

test('Schemes does not skip certificate checks behind a redirect from this machine', async () => {
  const hosts = new Hosts();
  const endpoint = { ...(await hosts.endpoints('localhost:5000'))[0]!, tls: anyCertificate };
  const zones = { zoneOf: () => 'this machine' as const };
  const tlsAt = (url: string) => routeFrom(endpoint, new URL(url), hosts, zones).tls;
  assert.equal(tlsAt('https://storage.example/'), undefined);
  assert.equal(tlsAt('https://127.0.0.1:9000/'), anyCertificate);
});

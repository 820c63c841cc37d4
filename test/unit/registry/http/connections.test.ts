import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Zone } from '../../../../src/registry/hosts/addresses.ts';
import { RegistryClient } from '../../../../src/registry/client.ts';
import { Deadline } from '../../../../src/registry/http/deadline.ts';
import type { RegistryError } from '../../../../src/registry/errors.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { endpointTls, withoutClients } from '../../../../src/registry/http/tls.ts';
import { defaultTimeouts, Transport } from '../../../../src/registry/http/transport.ts';
import { ForwardProxy } from '../../../support/forward-proxy.ts';
import { startRegistry, type TestRegistry } from '../../../support/registry.ts';
import { testTls } from '../../../support/tls.ts';

let directory = '';

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lazypull-tls-'));
  await writeFile(join(directory, 'ca.pem'), testTls.cert);
  await writeFile(join(directory, 'both.pem'), `${testTls.cert}\n${testTls.key}`);
});
after(() => rm(directory, { recursive: true }));

test('Connections does not connect to this machine by a name from a server, unless the server is here too', async () => {
  await using registry = await startRegistry();
  const transport = new Transport(defaultTimeouts, [], {});
  const url = new URL(`http://localhost:${registry.host.split(':')[1]}/v2/`);
  const status = async (zone: Zone | undefined): Promise<number> => {
    using deadline = new Deadline({ method: 'GET', url }, 10_000, undefined);
    const { status, body } = await transport.send({ method: 'GET', url, headers: {}, zone, deadline });
    await body.dump();
    return status;
  };
  for (const zone of ['anywhere', 'link-local'] as const)
    await assert.rejects(status(zone), /refused to go to "localhost": it is this machine or link-local/);
  assert.equal(registry.requests.length, 0);
  assert.equal(await status('this machine'), 200);
  assert.equal(await status(undefined), 200);
  await assert.rejects(status('anywhere'), /refused/, 'a connection that is open already is not used either');
  assert.equal(transport.zoneOf('localhost'), 'this machine');
  await transport.close();
});

test('Connections have HTTP/2 windows that do not wait for the client on a long link', async () => {
  await using registry = await startRegistry({ tls: testTls });
  const windows: (number | undefined)[] = [];
  registry.onSession = ({ remoteSettings }) => windows.push(remoteSettings.initialWindowSize);
  await using client = new RegistryClient({ certificates: [testTls.cert], environment: {} });
  const digest = registry.addBlob(Buffer.from('some bytes'));
  await client.blob(parseReference(`${registry.host}/app`), digest).tail(5);
  assert.deepEqual(windows, [2 << 20]);
});

/** Reads a blob through a hosts.toml that has `settings` for the registry. */
async function readWith(registry: TestRegistry, settings: string): Promise<number> {
  const path = join(directory, 'certs.d', registry.host);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'hosts.toml'), `server = "https://${registry.host}"\n${settings}`);
  await using client = new RegistryClient({
    hosts: { config_path: join(directory, 'certs.d') },
    retry: { tries: 1 },
    environment: {},
  });
  const digest = registry.addBlob(Buffer.from('some bytes'));
  return (await client.blob(parseReference(`${registry.host}/app`), digest).tail(5)).size;
}

test('Connections trust the authorities of hosts.toml, for the storage behind the registry too', async () => {
  await using registry = await startRegistry({ tls: testTls, redirect: true });
  await assert.rejects(readWith(registry, ''), /self-signed certificate/);
  assert.equal(await readWith(registry, `ca = "${join(directory, 'ca.pem')}"`), 10);
  assert.equal(await readWith(registry, 'skip_verify = true'), 10);
});

test('Connections see a corrected hosts.toml even for open blobs', async () => {
  await using registry = await startRegistry({ tls: testTls });
  const path = join(directory, 'mended', registry.host);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'hosts.toml'), `server = "https://${registry.host}"`);
  const hosts = { config_path: join(directory, 'mended') };
  await using client = new RegistryClient({ hosts, retry: { tries: 1 }, environment: {} });
  const blob = client.blob(parseReference(`${registry.host}/app`), registry.addBlob(Buffer.from('some bytes')));
  await assert.rejects(blob.tail(5), /self-signed certificate/);
  await writeFile(join(path, 'hosts.toml'), `server = "https://${registry.host}"\nskip_verify = true`);
  assert.equal((await blob.tail(5)).size, 10);
});

test('Connections show the client certificate of hosts.toml only to the registry', async () => {
  await using registry = await startRegistry({ tls: { ...testTls, ca: testTls.cert, requestCert: true } });
  const trust = `ca = "${join(directory, 'ca.pem')}"\n`;
  await assert.rejects(readWith(registry, trust), /Cannot GET "https:.*it may want a client certificate/);
  assert.equal(await readWith(registry, `${trust}client = "${join(directory, 'both.pem')}"`), 10);
  const tls = endpointTls(['ca'], [{ cert: 'c', key: 'k' }], false);
  assert.deepEqual(withoutClients(tls), endpointTls(['ca'], [], false));
});

/**
 * Whether the errors of requests that a server refuses with a TLS alert are all the same, and no later one goes into
 * the dead session of the first.
 */
async function refusesEach(transport: Transport, url: URL): Promise<void> {
  for (let i = 0; i < 3; i++) {
    const tls = endpointTls([], [], true);
    using deadline = new Deadline({ method: 'GET', url }, 10_000, undefined);
    await assert.rejects(
      transport.send({ method: 'GET', url, headers: {}, tls, deadline }),
      (error: RegistryError) =>
        /client certificate.*ALERT_CERTIFICATE_REQUIRED/.test(error.message) && !error.retryable,
    );
  }
}

test('Connections are made again if a server asks for a client certificate only after the handshake', async () => {
  await using registry = await startRegistry({ tls: { ...testTls, ca: testTls.cert, requestCert: true } });
  await using proxy = await ForwardProxy.start();
  const transport = new Transport(defaultTimeouts, [], { https_proxy: proxy.url });
  await refusesEach(transport, new URL(`https://${registry.host}/v2/`));
  assert.equal(proxy.seen.length, 0);
  await refusesEach(transport, new URL(`https://registry.invalid:${registry.host.split(':')[1]}/v2/`));
  assert.equal(proxy.seen.length, 3);
  await transport.close();
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOf } from '../../../../src/errors.ts';
import { isInNetwork, isLoopback, zoneOf } from '../../../../src/registry/hosts/addresses.ts';
import { RegistryClient } from '../../../../src/registry/client.ts';
import { Hosts } from '../../../../src/registry/hosts/hosts.ts';
import { followable, routeFrom } from '../../../../src/registry/http/redirect.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { startRegistry } from '../../../support/registry.ts';

const hosts = new Hosts({
  host: { 'a.io': { mirrors: [{ host: 'plain.io', insecure: true }, { host: '127.0.0.1:7' }] } },
});
const asked = { method: 'GET', url: new URL('https://reg.io/v2/x/blobs/y?a=b') };

test('followable() takes absolute and relative URLs and drops user info and fragment', () => {
  const table: [string, string][] = [
    ['https://cdn.io/z?s=1', 'https://cdn.io/z?s=1'],
    ['/z', 'https://reg.io/z'],
    ['../z', 'https://reg.io/v2/x/z'],
    ['?q', 'https://reg.io/v2/x/blobs/y?q'],
    ['//cdn.io/z', 'https://cdn.io/z'],
    ['https://u:p@cdn.io/z#f', 'https://cdn.io/z'],
    ['http://plain.io/z', 'http://plain.io/z'],
    ['http://127.0.0.1:7/z', 'http://127.0.0.1:7/z'],
  ];
  for (const [location, url] of table) assert.equal(followable(asked, location, hosts, 'anywhere').href, url);
});

test('followable() refuses what leads to other protocols, metadata services or out of TLS', () => {
  const table: [string | undefined, RegExp][] = [
    [undefined, /named no URL/],
    ['', /named no URL/],
    ['https://[', /no valid URL/],
    [`https://x/${'a'.repeat(20_000)}`, /no valid URL/],
    ['file:///etc/passwd', /neither http nor https/],
    ['data:text/plain,x', /neither http nor https/],
    ['http://169.254.169.254/latest/meta-data', /link-local/],
    ['http://0xa9fea9fe/', /link-local/],
    ['https://[fe80::1]/', /link-local/],
    ['https://[::ffff:169.254.169.254]/', /link-local/],
    ['http://168.63.129.16/', /link-local/],
    ['https://127.0.0.1:8/z', /is this machine/],
    ['https://localhost/z', /is this machine/],
    ['https://a.localhost/z', /is this machine/],
    ['https://127.1/z', /is this machine/],
    ['https://[::1]/', /is this machine/],
    ['https://[::ffff:127.0.0.1]/', /is this machine/],
    ['https://0/', /is this machine/],
    ['https://[::]/', /is this machine/],
    ['http://cdn.io/z', /plain HTTP after https/],
  ];
  for (const [location, message] of table)
    assert.throws(() => followable(asked, location, hosts, 'anywhere'), message, String(location));
});

test('zoneOf() and isLoopback() know addresses in every spelling', () => {
  for (const name of ['localhost', 'LOCALHOST', '127.0.0.1', '127.255.0.1', '::1', '[::1]'])
    assert.ok(isLoopback(name), name);
  for (const name of ['128.0.0.1', 'localhost.io', '[::2]', '']) assert.ok(!isLoopback(name), name);
  for (const address of ['fe80::1%eth0', '169.254.0.1', '[fd00:ec2::254]']) assert.equal(zoneOf(address), 'link-local');
  for (const name of ['169.253.1.1', 'fd00::1', 'reg.io', '']) assert.equal(zoneOf(name), 'anywhere');
  assert.ok(isInNetwork('10.1.2.3', '10.0.0.0/8'));
  assert.ok(isInNetwork('[fd00::5]', 'fd00::/8'));
  for (const network of ['10.0.0.0/8', '11.0.0.0/99', '0.0.0.0/', 'x/y']) assert.ok(!isInNetwork('11.1.2.3', network));
});

test('followable() goes to this machine from a registry that is here itself, but not to link-local addresses', () => {
  const local = { method: 'GET', url: new URL('http://127.0.0.1:5000/v2/x/blobs/y') };
  for (const location of ['http://127.0.0.1:9000/z', 'http://localhost/z', 'http://[::1]/z'])
    assert.equal(followable(local, location, hosts, 'this machine').href, location);
  assert.throws(() => followable(local, 'http://169.254.169.254/', hosts, 'this machine'), /link-local/);
  assert.throws(() => followable(local, 'http://127.0.0.1/', hosts, 'link-local'), /this machine/);
});

test('Requester follows a chain of five redirects and no further', async () => {
  await using registry = await startRegistry();
  await using client = new RegistryClient({ environment: {} });
  const blob = client.blob(parseReference(`${registry.host}/a`), registry.addBlob(Buffer.from('x')));
  const hop = { kind: 'status', status: 302, headers: { location: '?again' } } as const;
  registry.script({}, hop, hop, hop, hop, hop);
  assert.equal((await blob.tail(1)).size, 1);
  assert.equal(registry.requests.length, 6);
  registry.script({}, hop, hop, hop, hop, hop, hop);
  await assert.rejects(
    blob.tail(1),
    (error) => codeOf(error) === 'FailedPrecondition' && /more than 5 times/.test(String(error)),
  );
});

test('Requester looks up the name of a redirect like any other', async () => {
  await using registry = await startRegistry({ redirect: true });
  await using client = new RegistryClient({ environment: {} });
  const digest = registry.addBlob(Buffer.from('x'));
  const blob = client.blob(parseReference(`${registry.host}/a`), digest);
  const location = `http://localhost:${registry.host.split(':')[1]}/v2/a/blobs/${digest}`;
  registry.script({ on: 'registry' }, { kind: 'status', status: 307, headers: { location } });
  assert.equal((await blob.tail(1)).size, 1);
  assert.equal(registry.requests[1]?.headers.host, `localhost:${registry.host.split(':')[1]}`);
});

test('Requester connects to a registry that a stranger named in the zone of its name', async () => {
  const hosts = new Hosts();
  const zones = { zoneOf: () => 'anywhere' as const };
  const [named] = await hosts.guardedEndpoints('reg.io', 'pull');
  assert.equal(routeFrom(named!, new URL('https://reg.io/v2/x'), hosts, zones).zone, 'anywhere');
  const [trusted] = await hosts.endpoints('reg.io');
  assert.equal(routeFrom(trusted!, new URL('https://reg.io/v2/x'), hosts, zones).zone, undefined);
});

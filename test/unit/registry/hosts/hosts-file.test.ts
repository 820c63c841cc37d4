import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { codeOf, messageOf } from '../../../../src/errors.ts';
import { Hosts, type HostsConfig } from '../../../../src/registry/hosts/hosts.ts';
import { testTls } from '../../../support/tls.ts';

let directory = '';
let roots = 0;
let root = '';

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lazypull-hosts-'));
});
beforeEach(() => {
  root = join(directory, String(roots++));
});
after(() => rm(directory, { recursive: true }));

async function put(path: string, text: string): Promise<void> {
  await mkdir(join(root, path, '..'), { recursive: true });
  await writeFile(join(root, path), text);
}

function hosts(config: HostsConfig = {}): Hosts {
  return new Hosts({ config_path: `${root}:/nowhere`, ...config });
}

async function bases(host: string): Promise<string[]> {
  return (await hosts().endpoints(host)).map(({ base }) => base);
}

test('readHostDirectory gives servers in the order of the file, and the registry itself last', async () => {
  await put(
    'docker.io/hosts.toml',
    `
      [host."https://z.io"]
      [host."a.io:444"]
      [host."http://plain.io/proxy/"]
      [host."https://deep.io/v2/hub"]
        override_path = true
      [host."https://own.io/v2"]
    `,
  );
  assert.deepEqual(await bases('docker.io'), [
    'https://z.io/v2/',
    'https://a.io:444/v2/',
    'http://plain.io/proxy/v2/',
    'https://deep.io/v2/hub/',
    'https://own.io/v2/',
    'https://registry-1.docker.io/v2/',
  ]);
  const [z, , , , , origin] = await hosts().endpoints('docker.io');
  assert.deepEqual([z?.host, z?.namespace], ['z.io', 'docker.io']);
  assert.deepEqual([origin?.host, origin?.namespace], ['docker.io', undefined]);
});

test('readHostDirectory takes the registry from "server", with its own settings', async () => {
  await put('reg.io/hosts.toml', 'server = "http://10.0.0.1:5000"\n[header]\nX-A = "a"\nX-B = ["b", "c"]\n');
  const [endpoint, ...others] = await hosts().endpoints('reg.io');
  assert.equal(endpoint?.base, 'http://10.0.0.1:5000/v2/');
  assert.deepEqual(endpoint.headers, { 'x-a': 'a', 'x-b': ['b', 'c'] });
  assert.deepEqual(others, []);
  await put('docker.io/hosts.toml', 'server = "https://docker.io"\n');
  assert.deepEqual(await bases('docker.io'), ['https://registry-1.docker.io/v2/']);
});

test('readHostDirectory finds directories by host and port, then by their default, then in the next place', async () => {
  await put('_default/hosts.toml', '[host."https://all.io"]');
  await put('reg.io:5000/hosts.toml', '[host."https://five.io"]');
  await put('reg.io_6000_/hosts.toml', '[host."https://six.io"]');
  assert.deepEqual(await bases('reg.io:5000'), ['https://five.io/v2/', 'https://reg.io:5000/v2/']);
  assert.deepEqual(await bases('reg.io:6000'), ['https://six.io/v2/', 'https://reg.io:6000/v2/']);
  assert.deepEqual(await bases('reg.io'), ['https://all.io/v2/', 'https://reg.io/v2/']);
  assert.deepEqual(await bases('localhost:1'), ['https://all.io/v2/', 'http://localhost:1/v2/']);
  const next = new Hosts({ config_path: `/nowhere:${root}` });
  assert.equal((await next.endpoints('reg.io:5000'))[0]?.base, 'https://five.io/v2/');
  assert.deepEqual(
    (await new Hosts({ config_path: '/nowhere' }).endpoints('reg.io')).map(({ base }) => base),
    ['https://reg.io/v2/'],
  );
});

test('readHostDirectory is not used if [resolver.host] of config.toml names the registry', async () => {
  await put('reg.io/hosts.toml', '[host."https://file.io"]');
  const both = hosts({ host: { 'reg.io': { mirrors: [{ host: 'toml.io' }] } } });
  assert.equal((await both.endpoints('reg.io'))[0]?.base, 'https://toml.io/v2/');
});

test('readHostDirectory lets capabilities choose which server is asked for what, and which takes pushes', async () => {
  await put(
    'reg.io/hosts.toml',
    `
      server = "https://up.io"
      capabilities = ["pull", "push"]
      [host."https://pull.io"]
        capabilities = ["pull", "something new"]
      [host."https://resolve.io"]
        capabilities = "resolve"
    `,
  );
  const of = async (capability: 'pull' | 'resolve'): Promise<string[]> =>
    (await hosts().endpoints('reg.io', capability)).map(({ host }) => host);
  assert.deepEqual(await of('pull'), ['pull.io', 'up.io']);
  assert.deepEqual(await of('resolve'), ['resolve.io']);
  assert.equal((await hosts().origin('reg.io')).host, 'up.io');
  await put('no.io/hosts.toml', 'capabilities = ["resolve"]');
  await assert.rejects(hosts().endpoints('no.io', 'pull'), /no server of its hosts.toml can "pull"/);
});

test('readHostDirectory reads certificates beside the file, in every spelling', async () => {
  await put('reg.io/ca.pem', testTls.cert);
  await put('reg.io/both.pem', `${testTls.cert}\n${testTls.key}`);
  await put('reg.io/key.pem', testTls.key);
  await put(
    'reg.io/hosts.toml',
    `
      ca = "ca.pem"
      client = [["ca.pem", "key.pem"], "both.pem"]
      [host."https://a.io"]
        ca = ["ca.pem", "${join(root, 'reg.io/ca.pem')}"]
        skip_verify = true
        client = "both.pem"
    `,
  );
  const [a, origin] = await hosts().endpoints('reg.io');
  assert.deepEqual(a?.tls?.authorities, [testTls.cert, testTls.cert]);
  assert.equal(a.tls.skipVerify, true);
  assert.equal(a.tls.clients.length, 1);
  assert.equal(origin?.tls?.skipVerify, false);
  assert.deepEqual(
    origin.tls.clients.map(({ key }) => key.includes('PRIVATE KEY')),
    [true, true],
  );
  assert.equal((await hosts().endpoints('reg.io'))[0]?.tls?.id, a.tls.id, 'the same content has the same id');
});

test('readHostDirectory reads a directory of only certificates as Docker does', async () => {
  await put('reg.io/ca.crt', testTls.cert);
  await put('reg.io/client.cert', testTls.cert);
  await put('reg.io/client.key', testTls.key);
  const [endpoint] = await hosts().endpoints('reg.io');
  assert.equal(endpoint?.base, 'https://reg.io/v2/');
  assert.deepEqual(endpoint.tls?.authorities, [testTls.cert]);
  assert.deepEqual(endpoint.tls.clients, [{ cert: testTls.cert, key: testTls.key }]);
});

test('readHostDirectory names the file and the key of what is wrong', async () => {
  const table: [string, RegExp][] = [
    ['x = ', /Cannot use ".*reg.io\/hosts.toml": /],
    ['server = 5', /server: it must be a string/],
    ['server = "file:///etc/passwd"', /server "file:\/\/\/etc\/passwd" is not like "https:\/\/HOST:PORT\/PATH"/],
    ['server = "https://a:b@c"', /is not like/],
    ['host = 5', /host: it must be a table/],
    ['[host."https://a?b"]', /is not like/],
    ['[host."https://a#"]', /is not like/],
    ['[host."a"]\nskip_verify = "yes"', /skip_verify: it must be true or false/],
    ['[host."a"]\ncapabilities = [5]', /capabilities: it must be a string or a list/],
    ['ca = "missing.pem"', /missing.pem/],
    ['ca = "hosts.toml"', /"hosts.toml" holds nothing in PEM/],
    ['client = "bad.pem"', /"ca" or "client" is not what it should be: .*(PEM|asn1|bad base64|ASN1|too long|header)/i],
    ['client = [[5]]', /client: it must name files/],
    [Array.from({ length: 65 }, (_, i) => `[host."h${i}"]`).join('\n'), /more than 64 hosts/],
    ['#'.repeat(2 << 20), /is larger than 1048576 bytes/],
  ];
  await put('reg.io/bad.pem', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  for (const [text, message] of table) {
    await put('reg.io/hosts.toml', text);
    await assert.rejects(hosts().endpoints('reg.io'), (error) => {
      assert.equal(codeOf(error), 'FailedPrecondition');
      assert.match(messageOf(error), message);
      return true;
    });
  }
});

test('readHostDirectory never leaves the directory, whatever the host name', async () => {
  await put('hosts.toml', '[host."https://evil.io"]');
  for (const host of ['..', '.', '../x', 'a/..']) {
    const found = await hosts()
      .endpoints(host)
      .then((endpoints) => endpoints.map(({ base }) => base).join())
      .catch(String);
    assert.doesNotMatch(found, /evil/, host);
  }
});

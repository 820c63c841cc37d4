import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hosts } from '../../../../src/registry/hosts/hosts.ts';

async function bases(hosts: Hosts, host: string): Promise<string[]> {
  return (await hosts.endpoints(host)).map(({ base }) => base);
}

test('Hosts asks this machine in plain HTTP, all others over https', async () => {
  const hosts = new Hosts();
  assert.deepEqual(await bases(hosts, 'localhost:5000'), ['http://localhost:5000/v2/']);
  assert.deepEqual(await bases(hosts, '127.1.2.3'), ['http://127.1.2.3/v2/']);
  assert.deepEqual(await bases(hosts, '[::1]:80'), ['http://[::1]/v2/']);
  assert.deepEqual(await bases(hosts, 'reg.io:5000'), ['https://reg.io:5000/v2/']);
  assert.deepEqual(await bases(hosts, '127.0.0.1.evil.io'), ['https://127.0.0.1.evil.io/v2/']);
  assert.deepEqual(await bases(hosts, 'docker.io'), ['https://registry-1.docker.io/v2/']);
  assert.equal((await hosts.endpoints('docker.io'))[0]?.host, 'docker.io');
});

test('Hosts has mirrors before the origin, with their own time-outs and headers', async () => {
  const hosts = new Hosts({
    request_timeout_sec: 7,
    host: {
      'docker.io': {
        mirrors: [
          { host: 'm1.io', insecure: true, header: { 'X-A': 'a', 'X-B': ['b', 'c'] }, request_timeout_sec: -1 },
          { host: 'https://m2.io:444/proxy/hub/' },
          { host: 'localhost:1', request_timeout_sec: 3 },
        ],
      },
    },
  });
  const endpoints = await hosts.endpoints('docker.io');
  assert.deepEqual(endpoints, [
    {
      base: 'http://m1.io/v2/',
      origin: 'http://m1.io',
      host: 'm1.io',
      headers: { 'x-a': 'a', 'x-b': ['b', 'c'] },
      headersMs: 600_000,
      namespace: 'docker.io',
    },
    {
      base: 'https://m2.io:444/v2/proxy/hub/',
      origin: 'https://m2.io:444',
      host: 'm2.io:444',
      headers: {},
      headersMs: 7_000,
      namespace: 'docker.io',
    },
    {
      base: 'http://localhost:1/v2/',
      origin: 'http://localhost:1',
      host: 'localhost:1',
      headers: {},
      headersMs: 3_000,
      namespace: 'docker.io',
    },
    {
      base: 'https://registry-1.docker.io/v2/',
      origin: 'https://registry-1.docker.io',
      host: 'docker.io',
      headers: {},
      headersMs: 7_000,
      namespace: undefined,
    },
  ]);
  assert.equal((await hosts.origin('docker.io')).base, 'https://registry-1.docker.io/v2/');
  assert.deepEqual(await bases(hosts, 'other.io'), ['https://other.io/v2/']);
});

test('Hosts takes a mirror of its own name as the configuration of a registry in plain HTTP', async () => {
  const hosts = new Hosts({ host: { 'reg.local:5000': { mirrors: [{ host: 'reg.local:5000', insecure: true }] } } });
  assert.deepEqual(await bases(hosts, 'reg.local:5000'), ['http://reg.local:5000/v2/']);
  assert.equal((await hosts.origin('reg.local:5000')).base, 'http://reg.local:5000/v2/');
  assert.equal((await hosts.origin('reg.local:5000')).namespace, undefined);
  assert.ok(hosts.allowsPlainHttp(new URL('http://reg.local:5000/x')));
  assert.ok(!hosts.allowsPlainHttp(new URL('http://reg.local/x')));
  assert.ok(hosts.allowsPlainHttp(new URL('http://localhost:9/x')));
});

test('Hosts refuses what cannot be a host', async () => {
  await assert.rejects(new Hosts().endpoints('a b'), /Cannot ask the registry "a b"/);
  await assert.rejects(
    new Hosts({ host: { a: { mirrors: [{ host: '' }] } } }).endpoints('a'),
    /Cannot ask the registry/,
  );
});

test('Hosts refuses a mirror with signs that would send requests elsewhere', async () => {
  for (const host of ['mirror.#example:5000', 'mirror.example?x', 'user@mirror.example', 'mirror.example/path#x']) {
    const hosts = new Hosts({ host: { a: { mirrors: [{ host }] } } });
    await assert.rejects(hosts.endpoints('a'), { code: 'InvalidArgument' }, host);
  }
});

test('Hosts never asks the process itself, whatever names it as a mirror', async () => {
  const mirrors = [{ host: '127.0.0.1:8235' }, { host: 'm1.io' }];
  const config = { host: { 'reg.io': { mirrors }, 'other.io': { mirrors: [{ host: '127.0.0.1:8235' }] } } };
  const hosts = new Hosts(config, ({ host }) => host === '127.0.0.1:8235');
  assert.deepEqual(await bases(hosts, 'reg.io'), ['https://m1.io/v2/', 'https://reg.io/v2/']);
  assert.deepEqual(await bases(hosts, 'other.io'), ['https://other.io/v2/']);
});

test("Hosts.guardedEndpoints asks a stranger's host only if its name says that it is", async () => {
  const hosts = new Hosts({ host: { 'reg.io': { mirrors: [{ host: '169.254.1.1:81', insecure: true }] } } });
  const zones = async (host: string) => (await hosts.guardedEndpoints(host, 'pull')).map(({ zone }) => zone);
  assert.deepEqual(await zones('reg.io'), [undefined, 'anywhere'], 'what the configuration names may be anywhere');
  assert.deepEqual(await zones('10.0.0.1'), ['anywhere']);
  assert.deepEqual(await zones('localhost:5000'), ['this machine']);
  for (const host of ['169.254.169.254', '[fe80::1]', '100.100.100.200', '0xa9fea9fe']) {
    await assert.rejects(hosts.guardedEndpoints(host, 'pull'), { code: 'PermissionDenied' }, host);
  }
});

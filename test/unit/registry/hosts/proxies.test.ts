import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyFor } from '../../../../src/registry/hosts/proxies.ts';

function proxied(url: string, environment: NodeJS.ProcessEnv): string | undefined {
  return proxyFor(new URL(url), environment)?.host;
}

test('proxyFor reads a proxy each for http and https, in small letters or in capitals', () => {
  const both = { HTTP_PROXY: 'http://p:1', https_proxy: 'https://user:secret@p:2/' };
  assert.equal(proxied('http://reg.io/', both), 'p:1');
  assert.equal(proxied('https://reg.io/', both), 'p:2');
  assert.equal(proxied('https://reg.io/', { HTTP_PROXY: 'http://p:1' }), undefined);
  assert.equal(proxied('http://reg.io/', { HTTPS_PROXY: 'http://p:1' }), undefined);
  assert.equal(proxied('http://reg.io/', { HTTP_PROXY: 'p:3128' }), 'p:3128', 'the scheme may be missing');
});

test('proxyFor has no proxy for this machine', () => {
  for (const url of ['http://localhost:5000/', 'http://127.0.0.1/', 'http://[::1]/'])
    assert.equal(proxied(url, { http_proxy: 'p:1' }), undefined, url);
});

test('proxyFor reads names, suffixes, addresses, networks and ports in no_proxy', () => {
  const table: [string, string, boolean][] = [
    ['*', 'https://reg.io/', true],
    ['reg.io', 'https://reg.io/', true],
    ['reg.io', 'https://a.reg.io/', true],
    ['reg.io', 'https://areg.io/', false],
    ['REG.io', 'https://reg.IO:444/', true],
    ['.reg.io', 'https://a.reg.io/', true],
    ['.reg.io', 'https://reg.io/', false],
    ['*.reg.io', 'https://a.b.reg.io/', true],
    ['*.reg.io', 'https://reg.io/', false],
    ['reg.io:443', 'https://reg.io/', true],
    ['reg.io:444', 'https://reg.io/', false],
    ['reg.io:5000', 'https://reg.io:5000/', true],
    ['10.0.0.0/8,fd00::/8', 'https://10.1.2.3/', true],
    ['10.0.0.0/8,fd00::/8', 'https://[fd00::1]/', true],
    ['10.0.0.0/8', 'https://11.1.2.3/', false],
    ['10.1.2.3', 'https://10.1.2.3:5/', true],
    ['10.1.2.3:6', 'https://10.1.2.3:5/', false],
    ['[fd00::1]:6', 'https://[fd00::1]:6/', true],
    ['fd00::1', 'https://[fd00::1]:6/', true],
    [' other.io , reg.io ', 'https://reg.io/', true],
    ['', 'https://reg.io/', false],
    [', ,:,:5,/', 'https://reg.io/', false],
  ];
  for (const [list, url, isExempt] of table) {
    for (const name of ['no_proxy', 'NO_PROXY']) {
      const found = proxied(url, { https_proxy: 'http://p:1', [name]: list });
      assert.equal(found === undefined, isExempt, `${list} ${url}`);
    }
  }
});

test('proxyFor refuses what is no HTTP proxy, without its password', () => {
  for (const text of ['socks5://user:secret@p:1', 'http://', 'http://a b', 'file:///etc/passwd']) {
    assert.throws(
      () => proxied('https://reg.io/', { HTTPS_PROXY: text }),
      /^LazypullError: Cannot use the proxy of the environment variable "https_proxy": it is not like "http:\/\/HOST:PORT"$/,
    );
  }
});

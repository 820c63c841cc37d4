import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { silentLog } from '../../../../src/log.ts';
import { Authorizer } from '../../../../src/registry/auth/auth.ts';
import { TokenFetcher } from '../../../../src/registry/auth/token.ts';
import { Hosts } from '../../../../src/registry/hosts/hosts.ts';
import { Requester, type RegistryRequest } from '../../../../src/registry/http/requester.ts';
import { defaultRetryPolicy } from '../../../../src/registry/http/retry.ts';
import { defaultTimeouts, Transport } from '../../../../src/registry/http/transport.ts';

/** A server, and a requester without credentials; requests that came are in `seen`. */
async function setUp(t: TestContext, answer: (request: IncomingMessage) => [number, Record<string, string>?]) {
  const seen: string[] = [];
  const server: Server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    const [status, headers = {}] = answer(request);
    request.resume().on('end', () => response.writeHead(status, headers).end('text'));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const hosts = new Hosts();
  const transport = new Transport(defaultTimeouts, [], {});
  const tokens = new TokenFetcher(transport, hosts, defaultRetryPolicy, silentLog);
  const requester = new Requester(transport, new Authorizer([], tokens, silentLog), hosts, silentLog);
  t.after(async () => {
    await transport.close();
    server.close();
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const [endpoint] = await hosts.endpoints(host);
  const ask = (path: string, request: Partial<RegistryRequest> = {}): RegistryRequest => {
    const url = new URL(path, endpoint!.base);
    return { method: 'GET', url, scope: '', ...request };
  };
  return { requester, endpoint: endpoint!, ask, seen };
}

test('Requester.send follows a redirect, and gives where the bytes are', async (t) => {
  const { requester, endpoint, ask, seen } = await setUp(t, ({ url }) =>
    url === '/v2/a' ? [307, { location: '/b?c=d' }] : [200],
  );
  const answer = await requester.send(endpoint, ask('a'));
  assert.deepEqual([answer.status, answer.url.pathname], [200, '/b']);
  assert.equal(await text(answer.body), 'text');
  assert.deepEqual(seen, ['GET /v2/a', 'GET /b?c=d']);
});

test('Requester.send gives a redirect of a body back that only a GET could follow', async (t) => {
  const { requester, endpoint, ask, seen } = await setUp(t, () => [302, { location: '/elsewhere' }]);
  const answer = await requester.send(endpoint, ask('a', { method: 'PUT', body: Buffer.from('x') }));
  assert.equal(answer.status, 302);
  answer.body.destroy();
  assert.deepEqual(seen, ['PUT /v2/a']);
});

test('Requester.send gives up an endless chain of redirects', async (t) => {
  const { requester, endpoint, ask, seen } = await setUp(t, () => [307, { location: '/again' }]);
  await assert.rejects(requester.send(endpoint, ask('a')), {
    code: 'FailedPrecondition',
    message: /redirected more than 5 times/,
  });
  assert.equal(seen.length, 6);
});

test('Requester.refuse has the class of the status, and a hint for a person', async (t) => {
  const { requester, endpoint, ask } = await setUp(t, ({ url }) => [url === '/v2/secret' ? 403 : 404]);
  for (const [path, code] of [
    ['secret', 'PermissionDenied'],
    ['none', 'NotFound'],
  ] as const) {
    const error = await requester.refuse(endpoint, '', await requester.send(endpoint, ask(path)));
    assert.equal(error.code, code);
    assert.equal(Boolean(error.hint), code === 'PermissionDenied', String(error.hint));
  }
});

test('Requester.isAt tells an endpoint from a server to which it redirected', async (t) => {
  const { requester, endpoint } = await setUp(t, () => [200]);
  assert.ok(requester.isAt(endpoint, new URL('/anything', endpoint.base)));
  assert.ok(!requester.isAt(endpoint, new URL('https://cdn.example/v2/')));
});

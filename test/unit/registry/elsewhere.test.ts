import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { codeOf, explain, messageOf } from '../../../src/errors.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import type { Credential, CredentialSource, Wanted } from '../../../src/registry/auth/credentials/credential-source.ts';
import { dockerConfig } from '../../../src/registry/auth/credentials/docker-config.ts';
import { parseReference } from '../../../src/registry/reference.ts';
import { testTls } from '../../support/tls.ts';
import { ForwardProxy } from '../../support/forward-proxy.ts';
import { startRegistry, type TestRegistry } from '../../support/registry.ts';

const bytes = randomBytes(100_000);
const type = 'application/vnd.oci.image.manifest.v1+json';
const manifest = Buffer.from(JSON.stringify({ mediaType: type }));

/** A server that answers each request as a test says, and remembers them. */
class Answering implements AsyncDisposable {
  readonly seen: IncomingMessage[] = [];
  readonly #server: Server;

  private constructor(answer: (request: IncomingMessage, response: ServerResponse) => void) {
    this.#server = createServer((request, response) => {
      request.resume();
      this.seen.push(request);
      answer(request, response);
    });
  }

  static async start(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Answering> {
    const server = new Answering(answer);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Credentials for some hosts. */
class Some implements CredentialSource {
  readonly place = '/somewhere/config.json';
  readonly asked: string[] = [];
  readonly #known: Map<string, Credential>;

  constructor(known: Record<string, Credential>) {
    this.#known = new Map(Object.entries(known));
  }

  advice(host: string, isFound: boolean): string {
    return dockerConfig({ DOCKER_CONFIG: '/somewhere' }).advice(host, isFound);
  }

  find({ host }: Wanted): Promise<Credential | undefined> {
    this.asked.push(host);
    return Promise.resolve(this.#known.get(host));
  }
}

function clientWith(source: CredentialSource): RegistryClient {
  return new RegistryClient({
    credentials: [source],
    retry: { tries: 2, minDelayMs: 1, maxDelayMs: 2 },
    environment: {},
  });
}

function password(username: string): Credential {
  return { kind: 'password', username, password: `secret-${username}` };
}

async function read(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** A name that is not the registry's own: everything below it is at `target`, in another repository. */
function vanity(target: TestRegistry, challenge?: string): Promise<Answering> {
  return Answering.start((request, response) => {
    if (challenge !== undefined && request.headers.authorization === undefined)
      return void response.writeHead(401, { 'www-authenticate': challenge }).end();
    const path = (request.url ?? '').replace('/v2/app/', '/v2/real/');
    response.writeHead(307, { location: `http://${target.host}${path}` }).end();
  });
}

for (const auth of ['token', 'basic'] as const) {
  test(`RegistryClient sends another registry only its own credentials after a redirect, with auth ${auth}`, async () => {
    await using target = await startRegistry({ auth, users: { them: 'secret-them' } });
    await using front = await vanity(target, 'Basic realm="front"');
    const digest = target.addBlob(bytes);
    target.addManifest('real', '1', type, manifest);
    const credentials = new Some({ [front.host]: password('us'), [target.host]: password('them') });
    await using client = clientWith(credentials);
    const reference = parseReference(`${front.host}/app:1`);
    assert.deepEqual((await client.manifest(reference)).bytes, manifest);
    const blob = client.blob(reference, digest);
    assert.deepEqual((await blob.tail(1000)).data, bytes.subarray(-1000));
    target.resetCounts();
    const fronts = front.seen.length;
    assert.deepEqual(await read(blob.range(5, 5000)), bytes.subarray(5, 5000));
    assert.deepEqual(
      target.requests.map(({ status }) => status),
      [206],
      'the place is remembered, and the token',
    );
    assert.equal(front.seen.length, fronts);

    const ours = `Basic ${Buffer.from('us:secret-us').toString('base64')}`;
    assert.ok(front.seen.every(({ headers }) => [undefined, ours].includes(headers.authorization)));
    assert.ok(target.requests.every(({ authorization }) => authorization !== ours));
    if (auth === 'token') {
      target.revokeTokens();
      assert.deepEqual(await read(blob.range(5, 5000)), bytes.subarray(5, 5000));
      const token = target.requests.find(({ on }) => on === 'token')!;
      assert.deepEqual(new URL(token.path, 'http://x').searchParams.getAll('scope'), ['repository:real:pull']);
      assert.equal(token.authorization, `Basic ${Buffer.from('them:secret-them').toString('base64')}`);
    }
  });
}

test('RegistryClient sends credentials in plain HTTP only if the configuration allows it', async () => {
  await using proxy = await ForwardProxy.start(); // for names that are not of this machine
  await using target = await startRegistry({ auth: 'basic', users: { them: 'secret-them' } });
  target.addManifest('real', '1', type, manifest);
  const host = `target.example:${target.host.split(':')[1]}`;
  await using front = await Answering.start((_, response) => {
    response.writeHead(307, { location: `http://${host}/v2/real/manifests/1` }).end();
  });
  const frontHost = `front.example:${front.host.split(':')[1]}`;
  const credentials = new Some({ [host]: password('them') });
  const insecure = (name: string) => ({ [name]: { mirrors: [{ host: name, insecure: true }] } });
  for (const isAllowed of [false, true]) {
    await using client = new RegistryClient({
      credentials: [credentials],
      hosts: { host: { ...insecure(frontHost), ...(isAllowed ? insecure(host) : {}) } },
      retry: { tries: 1 },
      environment: { http_proxy: proxy.url },
    });
    const asking = client.manifest(parseReference(`${frontHost}/app:1`));
    if (isAllowed) {
      assert.deepEqual((await asking).bytes, manifest);
      continue;
    }
    await assert.rejects(asking, (error) => {
      assert.match(messageOf(error), new RegExp(`^Refused to send the credentials for "${host}" to the place`));
      return codeOf(error) === 'Unauthenticated';
    });
    assert.ok(target.requests.length > 0);
    assert.ok(target.requests.every(({ authorization }) => authorization === undefined));
    assert.deepEqual(credentials.asked, []);
  }
});

test('RegistryClient sends credentials from a registry without checked certificates only to the same host', async (t) => {
  await using proxy = await ForwardProxy.start(); // for names that are not of this machine
  await using target = await startRegistry({ tls: testTls, auth: 'basic', users: { them: 'secret-them' } });
  target.addManifest('real', '1', type, manifest);
  let name = '';
  const front = createTlsServer(testTls, (_, response) => {
    response.writeHead(307, { location: `https://${name}:${target.host.split(':')[1]}/v2/real/manifests/1` }).end();
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  t.after(() => front.close());
  const frontHost = `front.example:${(front.address() as AddressInfo).port}`;
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-elsewhere-'));
  t.after(() => rm(directory, { recursive: true }));
  await mkdir(join(directory, frontHost));
  await writeFile(join(directory, frontHost, 'hosts.toml'), 'skip_verify = true\n');
  for (name of ['target.example', 'front.example']) {
    const host = `${name}:${target.host.split(':')[1]}`;
    const credentials = new Some({ [host]: password('them') });
    const environment = { https_proxy: proxy.url };
    await using client = new RegistryClient({
      credentials: [credentials],
      hosts: { config_path: directory },
      retry: { tries: 1 },
      environment,
    });
    const asking = client.manifest(parseReference(`${frontHost}/app:1`));
    if (name === 'front.example') {
      assert.deepEqual((await asking).bytes, manifest);
      continue;
    }
    await assert.rejects(asking, new RegExp(`Refused to send the credentials for "${host}" to the place`));
    assert.ok(target.requests.length > 0);
    assert.ok(target.requests.every(({ authorization }) => authorization === undefined));
  }
});

test('RegistryClient needs no credentials for public images behind a redirect to a registry with tokens', async () => {
  await using target = await startRegistry({ auth: 'token', anonymousPull: true });
  await using front = await vanity(target);
  target.addManifest('real', '1', type, manifest);
  await using client = clientWith(new Some({}));
  assert.deepEqual((await client.manifest(parseReference(`${front.host}/app:1`))).bytes, manifest);
});

test('RegistryClient names the registry behind a redirect that wants more', async () => {
  await using target = await startRegistry({ auth: 'token', users: { them: 'secret-them' } });
  await using front = await vanity(target);
  await using client = clientWith(new Some({ [front.host]: password('them') }));
  await assert.rejects(client.manifest(parseReference(`${front.host}/app:1`)), (error) => {
    assert.match(
      explain(error),
      new RegExp(`there are no credentials for "${target.host}".*docker login ${target.host}`),
    );
    return codeOf(error) === 'Unauthenticated';
  });
  assert.ok(target.requests.every(({ on, authorization }) => on !== 'token' || authorization === undefined));
});

test('RegistryClient pushes to where a registry sends it, without credentials for there', async () => {
  await using target = await startRegistry({ auth: 'token', users: { them: 'secret-them' } });
  await using front = await vanity(target);
  const credentials = new Some({ [target.host]: password('them') });
  await using client = clientWith(credentials);
  await assert.rejects(
    client.pushManifest(parseReference(`${front.host}/app:1`), type, manifest),
    (error) => codeOf(error) === 'Unauthenticated',
  );
  assert.ok(target.requests.every(({ method, authorization }) => method !== 'PUT' || authorization === undefined));
});

/** A registry whose tokens come from a server that answers as `token` says. */
async function readThrough(
  token: (request: IncomingMessage, response: ServerResponse) => void,
  credential: Credential | undefined,
): Promise<{ tokens: IncomingMessage[]; authorization: string | undefined; body: Buffer }> {
  await using tokens = await Answering.start(token);
  let authorization: string | undefined;
  await using registry = await Answering.start((request, response) => {
    authorization = request.headers.authorization;
    if (authorization === undefined || authorization === 'Bearer wrong') {
      const challenge = `Bearer realm="http://${tokens.host}/token",service="s"`;
      return void response.writeHead(401, { 'www-authenticate': challenge }).end();
    }
    response.writeHead(200, { 'content-type': type }).end(manifest);
  });
  await using client = clientWith(new Some(credential === undefined ? {} : { [registry.host]: credential }));
  const { bytes: body } = await client.manifest(parseReference(`${registry.host}/app:1`));
  return { tokens: tokens.seen, authorization, body };
}

const identity: Credential = { kind: 'identity-token', token: 'refresh-me' };

test('TokenFetcher follows redirects within the token server: by GET with the password, by POST with the form', async () => {
  for (const status of [301, 302, 307, 308]) {
    for (const credential of [password('us'), identity, undefined]) {
      const { tokens, authorization } = await readThrough((request, response) => {
        if (request.url?.startsWith('/token')) {
          const location = `/v2/token${request.url.slice('/token'.length)}`;
          return void response.writeHead(status, { location }).end();
        }
        response.end('{"token":"right"}');
      }, credential);
      assert.equal(authorization, 'Bearer right');
      const [first, second] = tokens;
      assert.equal(second?.method, credential === identity ? 'POST' : 'GET', String(status));
      assert.equal(second?.headers.authorization, first?.headers.authorization);
      assert.equal(second?.headers['content-length'], first?.headers['content-length']);
      assert.match(second?.url ?? '', /^\/v2\/token/);
    }
  }
});

test('TokenFetcher asks with GET after a 303', async () => {
  const { tokens } = await readThrough((request, response) => {
    if (request.url?.startsWith('/token')) return void response.writeHead(303, { location: '/result' }).end();
    response.end('{"access_token":"right"}');
  }, identity);
  assert.deepEqual(
    tokens.map(({ method, url, headers }) => [method, url, headers['content-type']]),
    [
      ['POST', '/token', 'application/x-www-form-urlencoded'],
      ['GET', '/result', undefined],
    ],
  );
});

test('TokenFetcher takes no passwords and identity tokens along to another server', async () => {
  await using other = await Answering.start((_, response) => response.end('{"token":"anonymous"}'));
  const away = (_: IncomingMessage, response: ServerResponse): void =>
    void response.writeHead(307, { location: `http://${other.host}/token` }).end();
  const { authorization } = await readThrough(away, password('us'));
  assert.equal(authorization, 'Bearer anonymous');
  assert.equal(other.seen[0]?.headers.authorization, undefined);
  await assert.rejects(readThrough(away, identity), /which is another server and does not get the identity token/);
  assert.equal(other.seen.length, 1);
});

test('TokenFetcher rejects after endless redirects, and redirects to where none is followed', async () => {
  await assert.rejects(
    readThrough((_, response) => void response.writeHead(302, { location: '/token' }).end(), undefined),
    /redirected more than 5 times/,
  );
  await assert.rejects(
    readThrough(
      (_, response) => void response.writeHead(302, { location: 'http://169.254.169.254/' }).end(),
      undefined,
    ),
    /link-local/,
  );
});

test('TokenFetcher takes a token with 201, or any other 2xx', async () => {
  for (const status of [200, 201, 202, 203]) {
    const { body } = await readThrough((_, response) => {
      response.writeHead(status).end('{"token":"right"}');
    }, identity);
    assert.deepEqual(body, manifest);
  }
  await assert.rejects(
    readThrough((_, response) => void response.writeHead(204).end(), undefined),
    /the token server answered without a token/,
  );
});

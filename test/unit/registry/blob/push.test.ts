import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { RegistryClient } from '../../../../src/registry/client.ts';
import { parseReference, type Reference } from '../../../../src/registry/reference.ts';
import { digestOf, startRegistry } from '../../../support/registry.ts';
import { knownUser } from '../../../support/known-user.ts';
import { until } from '../../../support/until.ts';

const bytes = randomBytes(300_000);
const blob = { digest: digestOf(bytes), size: bytes.length };
const type = 'application/vnd.oci.image.manifest.v1+json';
const manifest = Buffer.from(JSON.stringify({ mediaType: type }));
const digest = digestOf(manifest);

interface Pushed {
  readonly method: string;
  readonly url: URL;
  readonly body: Buffer;
  readonly request: IncomingMessage;
}

interface Reply {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer;
}

/**
 * A server that takes what is pushed to it, and answers as `answer` says: undefined for what a registry answers as a
 * rule.
 */
class PushServer implements AsyncDisposable {
  readonly seen: Pushed[] = [];
  readonly #server: Server;

  private constructor(answer: (pushed: Pushed, server: PushServer) => Reply | 'drop' | undefined) {
    this.#server = createServer((request, response) => {
      this.#serve(request, response, answer).catch(() => response.destroy());
    });
  }

  static async start(
    answer: (pushed: Pushed, server: PushServer) => Reply | 'drop' | undefined = () => undefined,
  ): Promise<PushServer> {
    const server = new PushServer(answer);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get reference(): Reference {
    return parseReference(`${this.host}/app:1`);
  }

  /** The requests as `METHOD /path?query`. */
  get steps(): string[] {
    return this.seen.map(({ method, url }) => `${method} ${url.pathname}${url.search}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(
    request: IncomingMessage,
    response: ServerResponse,
    answer: (pushed: Pushed, server: PushServer) => Reply | 'drop' | undefined,
  ): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? '/', `http://${this.host}`);
    const pushed = { method: request.method ?? '', url, body: Buffer.concat(chunks), request };
    this.seen.push(pushed);
    const reply = answer(pushed, this) ?? usual(pushed);
    if (reply === 'drop') return void request.socket.destroy();
    response.writeHead(reply.status, reply.headers).end(reply.body);
  }
}

function usual({ method, url }: Pushed): Reply {
  if (method === 'POST') return { status: 202, headers: { location: `${url.pathname}1?_state=a%2Bb%20c==&x` } };
  return { status: method === 'PUT' ? 201 : 404 };
}

function client(): RegistryClient {
  return new RegistryClient({ retry: { tries: 3, minDelayMs: 1, maxDelayMs: 2 }, environment: {} });
}

const upload = `PUT /v2/app/blobs/uploads/1?_state=a%2Bb%20c==&x&digest=${encodeURIComponent(blob.digest)}`;

test('Pusher needs one token for a push, which may push from the first question on', async () => {
  await using registry = await startRegistry({ auth: 'token', users: { me: 'pw' } });
  const credentials = [knownUser({ username: 'me', password: 'pw' })];
  await using pushing = new RegistryClient({ credentials, environment: {} });
  const reference = parseReference(`${registry.host}/app:1`);
  assert.equal(await pushing.blobExists(reference, blob.digest), false);
  await pushing.pushBlob(reference, blob, bytes);
  await pushing.pushManifest(reference, type, manifest);
  const tokens = registry.requests.filter(({ on }) => on === 'token');
  assert.deepEqual(
    tokens.map(({ path }) => new URL(path, 'http://x').searchParams.getAll('scope')),
    [['repository:app:pull,push']],
  );
});

test('blobExists() leaves it to the push to say that something is not allowed', async () => {
  for (const status of [401, 403, 404, 405]) {
    await using server = await PushServer.start(() => ({ status }));
    await using pushing = client();
    assert.equal(await pushing.blobExists(server.reference, blob.digest), false, String(status));
  }
});

test('Pusher uploads a blob whatever a registry answers to a mount that it does not make', async () => {
  const location = '/v2/app/blobs/uploads/1?_state=a%2Bb%20c==&x';
  const ordinary = ['POST /v2/app/blobs/uploads/', upload];
  for (const [reply, then] of [
    [{ status: 202, headers: { location } }, [upload]],
    [{ status: 200, headers: { location } }, [upload]],
    ...[200, 202, 204, 400, 401, 403, 404, 405, 429, 500, 501, 503].map((status) => [{ status }, ordinary] as const),
    [{ status: 202, headers: { location: 'ftp://elsewhere/' } }, ordinary],
    ['drop', ordinary],
  ] as const) {
    await using server = await PushServer.start(({ url }) => (url.searchParams.has('mount') ? reply : undefined));
    await using pushing = client();
    await pushing.pushBlob(server.reference, blob, bytes, 'base');
    const mount = `POST /v2/app/blobs/uploads/?mount=${encodeURIComponent(blob.digest)}&from=base`;
    assert.deepEqual(server.steps, [mount, ...then], JSON.stringify(reply));
    assert.deepEqual(server.seen.at(-1)?.body, bytes);
  }
});

test('Pusher uploads a blob if the token server does not allow a mount', async () => {
  await using server = await PushServer.start(({ url, request }) => {
    if (url.pathname === '/token') {
      const isMount = url.searchParams.getAll('scope').some((scope) => scope.includes('base'));
      return isMount ? { status: 403 } : { status: 200, body: Buffer.from('{"token":"t"}') };
    }
    const challenge = `Bearer realm="http://${request.headers.host}/token"`;
    return request.headers.authorization === 'Bearer t'
      ? undefined
      : { status: 401, headers: { 'www-authenticate': challenge } };
  });
  await using pushing = client();
  await pushing.pushBlob(server.reference, blob, bytes, 'base');
  assert.deepEqual(server.seen.at(-1)?.body, bytes);
});

test('Pusher takes each status that registries use for uploads and manifests', async () => {
  for (const status of [200, 201, 202, 204]) {
    await using server = await PushServer.start(({ method, url }) => {
      if (method === 'POST') return { status, headers: { location: `${url.pathname}1` } };
      return method === 'PUT' ? { status } : undefined;
    });
    await using pushing = client();
    await pushing.pushBlob(server.reference, blob, bytes);
    assert.equal(await pushing.pushManifest(server.reference, type, manifest), digest);
    assert.deepEqual(
      server.seen.filter(({ method }) => method === 'PUT').map(({ body }) => body),
      [bytes, manifest],
      String(status),
    );
  }
});

test('Pusher sends nothing more if a registry says at the start of an upload that it has the blob', async () => {
  const location = `/v2/app/blobs/${blob.digest}`;
  await using server = await PushServer.start(() => ({ status: 201, headers: { location } }));
  await using pushing = client();
  await pushing.pushBlob(server.reference, blob, bytes);
  assert.deepEqual(server.steps, ['POST /v2/app/blobs/uploads/']);
});

test('Pusher takes the place of an upload as it is, relative or not', async () => {
  for (const location of [
    '/v2/app/blobs/uploads/1?sig=a%2Fb+c%3D&x=%20',
    '1?sig=a%2Fb+c%3D&x=%20',
    './1?sig=a%2Fb+c%3D&x=%20',
    'http://HOST/v2/app/blobs/uploads/1?sig=a%2Fb+c%3D&x=%20',
    'HOST/v2/app/blobs/uploads/1?sig=a%2Fb+c%3D&x=%20',
  ]) {
    await using server = await PushServer.start(({ method }, { host }) =>
      method === 'POST' ? { status: 202, headers: { location: location.replace('HOST', host) } } : undefined,
    );
    await using pushing = client();
    await pushing.pushBlob(server.reference, blob, bytes);
    const query = `sig=a%2Fb+c%3D&x=%20&digest=${encodeURIComponent(blob.digest)}`;
    assert.equal(server.steps[1], `PUT /v2/app/blobs/uploads/1?${query}`, location);
  }
});

test('Pusher follows 307 and 308 with method and body, and sends nothing secret to another server', async () => {
  for (const status of [307, 308]) {
    await using other = await PushServer.start();
    await using server = await PushServer.start(({ method, url, request }) => {
      if (request.headers.authorization === undefined)
        return { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } };
      if (method === 'HEAD') return undefined;
      return { status, headers: { location: `http://${other.host}${url.pathname}?moved` } };
    });
    const credentials = [knownUser({ username: 'me', password: 'pw' }, (host) => host === server.host)];
    await using pushing = new RegistryClient({ credentials, environment: {} });
    let streams = 0;
    const open = (): Readable => {
      streams++;
      return Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)]);
    };
    await pushing.pushBlob(server.reference, blob, open);
    await pushing.pushManifest(server.reference, type, manifest);
    assert.deepEqual(
      other.seen.map(({ method, body }) => [method, body.length]),
      [
        ['POST', 0],
        ['PUT', bytes.length],
        ['PUT', manifest.length],
      ],
    );
    assert.deepEqual(other.seen[1]?.body, bytes);
    assert.equal(other.seen[2]?.request.headers['content-type'], type);
    assert.ok(other.seen.every(({ request }) => request.headers.authorization === undefined));
    assert.equal(streams, 1);
  }
});

test('Pusher opens a stream again after a redirect of the upload, and does not turn a push into a GET', async () => {
  await using server = await PushServer.start(({ method, url }) =>
    method === 'PUT' && !url.searchParams.has('moved')
      ? { status: 307, headers: { location: `${url.pathname}${url.search}&moved=1` } }
      : undefined,
  );
  await using pushing = client();
  let streams = 0;
  await pushing.pushBlob(server.reference, blob, () => {
    streams++;
    return Readable.from([bytes]);
  });
  assert.equal(streams, 2);
  assert.deepEqual(server.seen.at(-1)?.body, bytes);

  await using wrong = await PushServer.start(({ method }) =>
    method === 'PUT' ? { status: 302, headers: { location: '/elsewhere' } } : undefined,
  );
  await assert.rejects(pushing.pushManifest(wrong.reference, type, manifest), /302 Found/);
});

test('Pusher leaves no timer if the answer comes before the source of an upload ends', async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  async function* source() {
    yield bytes;
    await answered;
    end();
  }
  {
    await using server = await PushServer.start();
    await using pushing = client();
    await pushing.pushBlob(server.reference, blob, () => Readable.from(source(), { objectMode: false }));
    answer();
    await ended;
  }
  await until(() => timers() <= before, 'a timer is left');
});

test('Pusher does not send a manifest again that is under the tag already, so that tags may be immutable', async () => {
  let told: string | undefined = digest;
  let kept = manifest;
  let headStatus = 200;
  await using server = await PushServer.start(({ method }) => {
    const headers = { 'content-type': type, ...(told === undefined ? {} : { 'docker-content-digest': told }) };
    if (method === 'PUT') return { status: 409, body: Buffer.from('{"errors":[{"code":"TAG_IMMUTABLE"}]}') };
    return { status: method === 'HEAD' ? headStatus : 200, headers, ...(method === 'GET' ? { body: kept } : {}) };
  });
  await using pushing = client();
  assert.equal(await pushing.pushManifest(server.reference, type, manifest), digest);
  assert.equal(await pushing.pushManifest({ ...server.reference, digest }, type, manifest), digest);
  assert.match(server.seen[0]?.request.headers.accept ?? '', /vnd\.oci\.image\.manifest/);
  told = undefined; // then its bytes are compared
  assert.equal(await pushing.pushManifest(server.reference, type, manifest), digest);
  told = `sha512:${'0'.repeat(128)}`; // which says nothing of the one that we know
  assert.equal(await pushing.pushManifest(server.reference, type, manifest), digest);
  for (headStatus of [405, 501]) await pushing.pushManifest(server.reference, type, manifest);
  headStatus = 200;
  kept = Buffer.from('{"other":1}');
  await assert.rejects(pushing.pushManifest(server.reference, type, manifest), /409 Conflict \(TAG_IMMUTABLE\)/);
  told = digestOf(kept);
  await assert.rejects(pushing.pushManifest(server.reference, type, manifest), /409 Conflict/);
});

test('Pusher sends a manifest to a registry that cannot say whether it has it', async () => {
  for (const status of [400, 401, 403, 404, 405, 500, 503]) {
    await using server = await PushServer.start(({ method }) => (method === 'HEAD' ? { status } : undefined));
    await using pushing = client();
    await pushing.pushManifest(server.reference, type, manifest);
    assert.deepEqual(server.seen.at(-1)?.body, manifest, String(status));
  }
});

test('Pusher says what to do about a blob that is too large for a server', async () => {
  await using server = await PushServer.start(({ method }) => (method === 'PUT' ? { status: 413 } : undefined));
  await using pushing = client();
  await assert.rejects(pushing.pushBlob(server.reference, blob, bytes), {
    message: /413 Payload Too Large$/,
    hint: new RegExp(`^the registry, or a proxy before it, takes no ${bytes.length} bytes`),
  });
});

test('Pusher tries again after 429 with Retry-After, 5xx and a connection that breaks in an upload', async () => {
  for (const method of ['POST', 'PUT']) {
    const trouble: (Reply | 'drop')[] = [{ status: 429, headers: { 'retry-after': '0' } }, 'drop'];
    await using server = await PushServer.start((pushed) => (pushed.method === method ? trouble.shift() : undefined));
    await using pushing = client();
    await pushing.pushBlob(server.reference, blob, () => Readable.from([bytes]));
    assert.deepEqual(server.seen.at(-1)?.body, bytes);
    trouble.push({ status: 503 }, 'drop');
    await pushing.pushManifest(server.reference, type, manifest);
    assert.deepEqual(server.seen.at(-1)?.body, manifest);
  }
});

import assert from 'node:assert/strict';
import { createSecureServer } from 'node:http2';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, messageOf } from '../../../../src/errors.ts';
import { RegistryClient, type RegistryClientOptions } from '../../../../src/registry/client.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { startRegistry } from '../../../support/registry.ts';
import { keepWriting, type RawRequest, RawServer } from '../../../support/raw-server.ts';
import { testTls } from '../../../support/tls.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const options: RegistryClientOptions = {
  retry: { tries: 2, minDelayMs: 1, maxDelayMs: 2 },
  timeouts: { connectMs: 500, headersMs: 300, bodyIdleMs: 300 },
  environment: {},
};

/** Far longer than the deadlines above, and far shorter than for ever. */
const hangMs = 15_000;

type Client = InstanceType<typeof RegistryClient>;

/** Every kind of request that a client makes. */
const kinds: Record<string, (client: Client, host: string) => Promise<unknown>> = {
  'a manifest': (client, host) => client.manifest(parseReference(`${host}/a:1`)),
  'the head of a manifest': (client, host) => client.manifestHead(parseReference(`${host}/a:1`)),
  'the end of a blob': (client, host) => client.blob(parseReference(`${host}/a`), digest).tail(5),
  'a range of a blob': async (client, host) => {
    for await (const _ of client.blob(parseReference(`${host}/a`), digest).range(0, 5)) void _;
  },
  'whether there is a blob': (client, host) => client.blobExists(parseReference(`${host}/a`), digest),
  'the start of an upload': (client, host) =>
    client.pushBlob(parseReference(`${host}/a`), { digest, size: 1 }, Buffer.from('x')),
  'a pushed manifest': (client, host) => client.pushManifest(parseReference(`${host}/a:1`), 'x/y', Buffer.from('{}')),
};

const tricks: Record<string, (request: RawRequest, socket: Socket) => void> = {
  'nothing at all': () => {},
  '103 Early Hints for ever': (_, socket) =>
    keepWriting(socket, 20, () => 'HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n'),
  '100 and 102 for ever': (_, socket) =>
    keepWriting(socket, 20, (turn) => `HTTP/1.1 ${turn % 2 === 0 ? '100 Continue' : '102 Processing'}\r\n\r\n`),
  'a head that comes byte by byte': (_, socket) =>
    keepWriting(socket, 20, (turn) => `HTTP/1.1 200 OK\r\nx:`[turn] ?? 'y'),
  'one header after another': (_, socket) =>
    keepWriting(socket, 50, (turn) => (turn === 0 ? 'HTTP/1.1 200 OK\r\n' : `x-${turn}: y\r\n`)),
  'a redirect after almost the whole time-out, again and again': ({ number }, socket) => {
    const redirect = `HTTP/1.1 307 x\r\nlocation: /v2/${number}\r\ncontent-length: 0\r\n\r\n`;
    setTimeout(() => socket.write(redirect), 200);
  },
};

for (const [trick, answer] of Object.entries(tricks)) {
  test(`Deadline ends a request to a registry that answers with ${trick}, whatever was asked`, {
    timeout: hangMs,
  }, async () => {
    await using server = await RawServer.start((request, socket) => answer(request, socket));
    await Promise.all(
      Object.values(kinds).map(async (ask) => {
        await using client = new RegistryClient(options);
        await assert.rejects(ask(client, server.host), (error) => codeOf(error) === 'Unavailable');
      }),
    );
  });
}

test('Deadline ends the wait for a token server that sends 103 for ever', {
  timeout: hangMs,
}, async () => {
  await using server = await RawServer.start(({ head }, socket) => {
    if (head.includes('/token')) return keepWriting(socket, 20, () => 'HTTP/1.1 103 x\r\n\r\n');
    const challenge = `www-authenticate: Bearer realm="http://${server.host}/token"`;
    socket.write(`HTTP/1.1 401 x\r\n${challenge}\r\ncontent-length: 0\r\n\r\n`);
  });
  await using client = new RegistryClient(options);
  await assert.rejects(client.manifest(parseReference(`${server.host}/a:1`)), /no answer came in time/);
});

test('Deadline ends a body with only frames without bytes', { timeout: hangMs }, async () => {
  await using server = await RawServer.start((_, socket) => {
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
    keepWriting(socket, 20, (turn) => (turn === 0 ? '5;x=' : 'y')); // the extension of a chunk, for ever
  });
  await using client = new RegistryClient(options);
  await assert.rejects(client.manifest(parseReference(`${server.host}/a:1`)), /the answer stopped in the middle/);
});

test('Deadline ends an HTTP/2 body of empty DATA frames, and the wait for an answer that never comes', {
  timeout: hangMs,
}, async () => {
  for (const status of [200, 103]) {
    const server = createSecureServer(testTls, () => {});
    server.on('stream', (stream) => {
      stream.on('error', () => {});
      const send = (): void => {
        if (stream.destroyed) return clearInterval(timer);
        if (status === 103) stream.additionalHeaders({ ':status': 103 });
        else stream.session?.ping(() => {});
      };
      if (status === 200) stream.respond({ ':status': 200 });
      const timer = setInterval(send, 20);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const hosts = { host: { [host]: { mirrors: [{ host: `https://${host}` }] } } };
    await using client = new RegistryClient({ ...options, hosts, certificates: [testTls.cert] });
    await assert.rejects(client.manifest(parseReference(`${host}/a:1`)), /in time|in the middle/);
    await client.close();
    server.close();
  }
});

test('Deadline ends a handshake that never ends', { timeout: hangMs }, async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    // a record, byte by byte
    keepWriting(socket, 20, (turn) => (turn === 0 ? Buffer.from([0x16, 3, 3, 0x3f, 0xff]) : Buffer.from([2])));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const hosts = { host: { [host]: { mirrors: [{ host: `https://${host}` }] } } };
  await using client = new RegistryClient({ ...options, hosts });
  await assert.rejects(client.manifest(parseReference(`${host}/a:1`)), (error) => codeOf(error) === 'Unavailable');
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('Deadline ends a manifest that drips for longer than its bytes are worth', {
  timeout: hangMs,
}, async () => {
  await using registry = await startRegistry();
  const type = 'application/vnd.oci.image.index.v1+json';
  registry.addManifest('a', '1', type, Buffer.from(JSON.stringify({ mediaType: type, text: 'x'.repeat(5_000) })));
  registry.script({}, { kind: 'drip', bytes: 1, everyMs: 20 });
  const retry = { tries: 2, totalMs: 200, minBytesPerSecond: 1e9 };
  await using client = new RegistryClient({ ...options, retry });
  await assert.rejects(client.manifest(parseReference(`${registry.host}/a:1`)), (error) => {
    assert.match(messageOf(error), /the answer comes too slowly/);
    return codeOf(error) === 'DeadlineExceeded';
  });
});

test('skipInformational skips informational answers, however many come', { timeout: hangMs }, async () => {
  const interim =
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\ncontent-length: 7\r\nlink: </x>\r\n\r\nHTTP/1.1 199 x\r\n\r\n';
  await using server = await RawServer.start(({ head, number }, socket) => {
    const status = head.startsWith('PUT') ? '201 Created' : '200 OK';
    const body = head.startsWith('GET') ? '{"mediaType":"x/y"}' : '';
    const all = `${interim.repeat(number + 1)}HTTP/1.1 ${status}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
    if (number % 2 === 0) socket.write(all);
    else void drip(socket, all);
  });
  await using client = new RegistryClient({ ...options, timeouts: { headersMs: 10_000 } });
  const reference = parseReference(`${server.host}/a:1`);
  for (let i = 0; i < 4; i++) {
    assert.equal((await client.manifest(reference)).bytes.toString(), '{"mediaType":"x/y"}');
    await client.pushManifest(reference, 'x/y', Buffer.from('{}'));
  }
});

async function drip(socket: Socket, text: string): Promise<void> {
  for (let at = 0; at < text.length; at += 29) {
    socket.write(text.slice(at, at + 29));
    await sleep(1);
  }
}

test('onSilence is called for a silence, and not for an answer in time', { timeout: hangMs }, async () => {
  await using server = await RawServer.start(({ head }, socket) => {
    if (head.startsWith('HEAD')) socket.write('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n');
  });
  const told: string[] = [];
  await using client = new RegistryClient({
    ...options,
    retry: { tries: 1 },
    timeouts: { headersMs: 1_000, noticedMs: 200 },
    onSilence: ({ host }) => void told.push(host),
  });
  const reference = parseReference(`${server.host}/a:1`);
  await assert.rejects(client.manifestHead(reference), (error) => codeOf(error) === 'NotFound');
  assert.deepEqual(told, []);
  await assert.rejects(client.manifest(reference), /no answer came in time/);
  assert.deepEqual(told, [server.host]);
});

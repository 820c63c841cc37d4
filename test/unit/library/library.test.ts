import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import {
  convertImage,
  inspectImage,
  LazypullError,
  openImage,
  openRegistry,
  type Registry,
} from '../../../src/index.ts';
import type { FileSpec } from '../../support/estargz-blob.ts';
import { digestOf, type RegistryOptions, startRegistry, type TestRegistry } from '../../support/registry.ts';
import { type LayerSpec, serveImage } from '../../support/served-image.ts';
import { buildTar } from '../../support/tar-builder.ts';

interface Ends {
  server: TestRegistry;
  registry: Registry;
  digests: string[];
  image: string;
}

async function start(t: TestContext, layers: readonly LayerSpec[], options: RegistryOptions = {}): Promise<Ends> {
  const server = await startRegistry(options);
  t.after(() => server.close());
  const registry = await openRegistry({
    logins: () => Promise.resolve({ username: 'me', password: 'secret' }),
  });
  t.after(() => registry.close());
  return { server, registry, digests: serveImage(server, 'app', layers), image: `${server.host}/app:1` };
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

const file = (path: string, content: Buffer): FileSpec => ({ path, type: 'reg', mode: 0o640, uid: 7, gid: 8, content });
const tree: readonly FileSpec[] = [
  { path: 'etc', type: 'dir', mode: 0o755 },
  file('etc/hosts', Buffer.from('127.0.0.1 localhost\n')),
  { path: 'etc/link', type: 'symlink', mode: 0o777, linkTarget: '/etc/hosts' },
];

test('openImage lists and reads an image of a registry that asks for a login', async (t) => {
  const { registry, digests, image } = await start(t, [tree], { auth: 'token', users: { me: 'secret' } });
  const opened = await openImage(registry, image);
  assert.equal(opened.reference, image);
  assert.deepEqual(
    opened.layers.map(({ digest }) => digest),
    digests,
  );
  assert.deepEqual(
    opened.list('/etc').map(({ path, type, target }) => [path, type, target]),
    [
      ['/etc/hosts', 'file', undefined],
      ['/etc/link', 'symlink', '/etc/hosts'],
    ],
  );
  const { modified, xattrs, pathBytes, ...hosts } = opened.find('/etc/link');
  assert.deepEqual(hosts, {
    path: '/etc/hosts',
    type: 'file',
    mode: 0o640,
    uid: 7,
    gid: 8,
    size: 20,
    links: 1,
    target: undefined,
    device: undefined,
    layer: digests[0],
  });
  assert.deepEqual([modified.nanoseconds, xattrs.size, Buffer.from(pathBytes).toString()], [0, 0, '/etc/hosts']);
  assert.equal(String(await collect(opened.read(pathBytes))), '127.0.0.1 localhost\n');
});

test('openImage finds names that are not UTF-8 by their bytes', async (t) => {
  const { registry, image } = await start(t, [[file('b\u00e4r', Buffer.from('x'))]]);
  const opened = await openImage(registry, image);
  const [found] = opened.list();
  assert.equal(found!.path, '/b\ufffdr');
  assert.equal(String(await collect(opened.read(found!.pathBytes))), 'x');
  assert.throws(() => opened.find(found!.path), { code: 'NotFound' });
});

test('openImage throws errors with a code for what cannot be done', async (t) => {
  const { registry, server, image } = await start(t, [tree]);
  const opened = await openImage(registry, image);
  assert.throws(() => opened.list('/etc/hosts'), {
    code: 'FailedPrecondition',
    message: /^Cannot list "\/etc\/hosts"/,
  });
  assert.throws(() => opened.read('/etc'), { code: 'FailedPrecondition', message: /^Cannot read "\/etc"/ });
  assert.throws(() => opened.find('/none'), { code: 'NotFound' });
  await assert.rejects(openImage(registry, `${server.host}/none:1`), { code: 'NotFound' });
  await assert.rejects(openImage(registry, 'Not A Name'), LazypullError);
  await assert.rejects(openImage(registry, image, { platform: 'no/such/thing/x' }), { code: 'InvalidArgument' });
  await assert.rejects(openImage({} as Registry, image), { code: 'InvalidArgument' });
});

test('openRegistry asks anonymously unless it is told otherwise', async (t) => {
  const { image } = await start(t, [tree], { auth: 'basic', users: { me: 'secret' } });
  await using anonymous = await openRegistry();
  await assert.rejects(openImage(anonymous, image), { code: 'Unauthenticated' });
});

test('inspectImage says what each layer is, and what to do about one that is not lazy', async (t) => {
  const plain = gzipSync(buildTar([{ name: 'etc/hosts', data: Buffer.from('x') }]));
  const { registry, digests, image } = await start(t, [tree, plain]);
  const { layers } = await inspectImage(registry, image);
  const [lazy, notLazy] = layers;
  assert.deepEqual(
    [lazy!.digest, lazy!.format, lazy!.problem, lazy!.content],
    [digests[0], 'estargz', undefined, { files: 1, entries: 3, chunks: 1, bytes: 20 }],
  );
  assert.equal(notLazy!.format, 'gzip');
  assert.equal(notLazy!.content, undefined);
  assert.match(notLazy!.problem?.advice ?? '', /lazypull convert/);
});

test('convertImage writes an image that is lazy and has the same files', async (t) => {
  const temporaryDirectory = await mkdtemp(join(tmpdir(), 'lazypull-library-'));
  t.after(() => rm(temporaryDirectory, { recursive: true }));
  const content = randomBytes(300_000);
  const { registry, server, image } = await start(t, [tree]);
  const layer = gzipSync(buildTar([{ name: 'data', data: content }]));
  const seen = new Set<string>();
  const target = `${server.host}/app:lazy`;
  await pushPlain(server, layer);
  const converted = await convertImage(registry, `${server.host}/plain:1`, target, {
    chunkSize: 100_000,
    temporaryDirectory,
    onLayer: ({ state }) => seen.add(state),
  });
  assert.deepEqual([converted.isLazy, converted.problems], [true, []]);
  assert.ok(seen.has('reading') && seen.has('done'));
  assert.deepEqual(await readdir(temporaryDirectory), []);
  const opened = await openImage(registry, target);
  assert.equal(opened.digest, converted.digest);
  assert.ok((await collect(opened.read('/data'))).equals(content));
  await assert.rejects(convertImage(registry, image, target, { level: 10 }), { code: 'InvalidArgument' });
  await assert.rejects(convertImage(registry, image, target, { signal: AbortSignal.abort() }), { code: 'Canceled' });
});

/** An image with a configuration that names its layer, as one has to that is converted. */
async function pushPlain(server: TestRegistry, layer: Buffer): Promise<void> {
  const diffId = digestOf(gunzipSync(layer));
  const config = Buffer.from(
    JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [diffId] } }),
  );
  const descriptor = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    digest: server.addBlob(bytes),
    size: bytes.length,
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: descriptor('application/vnd.oci.image.config.v1+json', config),
    layers: [descriptor('application/vnd.oci.image.layer.v1.tar+gzip', layer)],
  };
  server.addManifest('plain', '1', mediaType, Buffer.from(JSON.stringify(manifest)));
}

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { openImage } from '../../../src/image-reader/open-image.ts';
import { type IndexFile, PlainLayers } from '../../../src/image-reader/plain-layers.ts';
import { resolveImage } from '../../../src/images/resolve.ts';
import { ociManifest } from '../../../src/images/media-types.ts';
import { parseReference } from '../../../src/registry/reference.ts';
import { quickClient } from '../../support/index-lab.ts';
import { buildLayerIndex } from '../../support/layer-index-builder.ts';
import { startRegistry, type TestRegistry } from '../../support/registry.ts';
import { buildTar } from '../../support/tar-builder.ts';

const large = Buffer.from(randomBytes(2_000_000).toString('hex'));
const blob = gzipSync(
  buildTar([
    { name: 'etc/hosts', data: Buffer.from('localhost') },
    { name: 'large', data: large },
  ]),
);

/** Serves an image with a layer that names no index. */
function serve(registry: TestRegistry, bytes = blob): string {
  const digest = registry.addBlob(bytes);
  const config = Buffer.from(JSON.stringify({ rootfs: { diff_ids: [digest] } }));
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifest,
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: registry.addBlob(config),
      size: config.length,
    },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: blob.length }],
  };
  registry.addManifest('app', '1', ociManifest, Buffer.from(JSON.stringify(manifest)));
  return digest;
}

async function opened(registry: TestRegistry, find?: () => Promise<IndexFile | undefined>) {
  await using parts = new AsyncDisposableStack();
  const client = parts.use(quickClient());
  const pulled: string[] = [];
  const plain = parts.use(new PlainLayers({ find, onPull: ({ digest }) => pulled.push(digest) }));
  const image = await openImage(client, await resolveImage(client, parseReference(`${registry.host}/app:1`)), plain);
  const all = parts.move();
  const read = async (path: string): Promise<Buffer> =>
    Buffer.concat(await Array.fromAsync(image.read(image.tree.find(path))));
  return { image, pulled, read, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

test('openImage reads a layer without an index whole, once, and then its files', async () => {
  await using registry = await startRegistry();
  const digest = serve(registry);
  await using app = await opened(registry);
  assert.deepEqual(app.pulled, [digest]);
  assert.deepEqual(
    app.image.tree.list(app.image.tree.find('/')).map(({ path }) => path),
    ['etc', 'large'],
  );
  assert.equal(String(await app.read('etc/hosts')), 'localhost');
  assert.ok((await app.read('large')).equals(large));
});

test('openImage reads sparse files of a layer without an index as unpacking leaves them', async () => {
  await using registry = await startRegistry();
  const directory = await mkdtemp(join(tmpdir(), 'plain-layers-'));
  const path = join(directory, 'sparse');
  await using file = await open(path, 'w');
  for (const at of [300_000, 2_500_000]) await file.write(Buffer.from('some data'), 0, 9, at);
  await file.truncate(4_000_000);
  const { stdout } = await promisify(execFile)(
    'tar',
    ['-C', directory, '--sparse', '--format=pax', '-czf', '-', 'sparse'],
    { encoding: 'buffer', maxBuffer: 1 << 30 },
  );
  const expected = await readFile(path);
  await rm(directory, { recursive: true });
  serve(registry, stdout);
  await using app = await opened(registry);
  assert.ok((await app.read('sparse')).equals(expected));
});

test('openImage reads a layer by an index that is found, and fetches no more than it needs', async () => {
  await using registry = await startRegistry();
  serve(registry);
  const { file } = await buildLayerIndex(blob, { spanBytes: 256 << 10 });
  const index = {
    size: file.length,
    range: (start: number, end: number) => Promise.resolve(file.subarray(start, end)),
  };
  await using app = await opened(registry, () => Promise.resolve(index));
  assert.deepEqual(app.pulled, []);
  registry.resetCounts();
  assert.equal(String(await app.read('etc/hosts')), 'localhost');
  assert.ok(registry.bytes < blob.length / 4, `${registry.bytes} bytes were fetched`);
  assert.ok((await app.read('large')).equals(large));
});

test('openImage fetches a file of many spans, and their windows, in one request each', async () => {
  await using registry = await startRegistry();
  const digest = serve(registry);
  const { file, spans } = await buildLayerIndex(blob, { spanBytes: 256 << 10 });
  assert.ok(spans.length > 10);
  const asked: [number, number][] = [];
  const index = {
    size: file.length,
    range(start: number, end: number) {
      asked.push([start, end]);
      return Promise.resolve(file.subarray(start, end));
    },
  };
  await using app = await opened(registry, () => Promise.resolve(index));
  asked.length = 0;
  registry.resetCounts();
  assert.ok((await app.read('large')).equals(large));
  assert.equal(registry.requests.filter(({ path }) => path.includes(digest)).length, 1);
  assert.equal(asked.length, 1);
});

test('openImage makes an index if the one that is found is wrong', async () => {
  await using registry = await startRegistry();
  serve(registry);
  const { file } = await buildLayerIndex(gzipSync(buildTar([{ name: 'other', data: Buffer.from('x') }])));
  const index = {
    size: file.length,
    range: (start: number, end: number) => Promise.resolve(file.subarray(start, end)),
  };
  await using app = await opened(registry, () => Promise.resolve(index));
  assert.equal(app.pulled.length, 1);
  assert.equal(String(await app.read('etc/hosts')), 'localhost');
});

test('openImage gives no byte of a blob that is another one than its index says', async () => {
  await using registry = await startRegistry();
  const digest = serve(registry);
  await using app = await opened(registry);
  registry.blobs.set(digest, Buffer.from(blob).fill(0x55, 1000));
  await assert.rejects(app.read('large'), { code: 'DataLoss' });
});

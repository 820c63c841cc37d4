import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { convertImage } from '../../../src/convert/convert.ts';
import type { LayerEvent } from '../../../src/convert/layer-converter.ts';
import { OciLayout, parseLayoutReference } from '../../../src/convert/oci-layout.ts';
import { buildTar } from '../../support/tar-builder.ts';

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
  platform?: object;
}

/** Any document of an image: which fields are there is for the test to know. */
interface Document {
  mediaType: string;
  annotations: Record<string, string>;
  manifests: [Descriptor, Descriptor, Required<Descriptor>];
  config: Descriptor;
  layers: [Required<Descriptor>, Required<Descriptor>];
  rootfs: { diff_ids: string[] };
  history: object[];
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const indexType = 'application/vnd.oci.image.index.v1+json';
const configType = 'application/vnd.oci.image.config.v1+json';
const layerType = 'application/vnd.oci.image.layer.v1.tar';
const tocAnnotation = 'containerd.io/snapshot/stargz/toc.digest';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lazypull-test-'));
  await mkdir(join(directory, 'from/blobs/sha256'), { recursive: true });
  await mkdir(join(directory, 'temporary'));
});
afterEach(() => rm(directory, { recursive: true }));

function sha256(data: Uint8Array): string {
  return `sha256:${hash('sha256', data)}`;
}

async function put(mediaType: string, content: Buffer | object): Promise<Descriptor> {
  const data = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const digest = sha256(data);
  await writeFile(join(directory, 'from/blobs', digest.replace(':', '/')), data);
  return { mediaType, digest, size: data.length };
}

async function putImage(
  layers: Descriptor[],
  diffIds: string[],
  platform = { os: 'linux', architecture: 'amd64' },
): Promise<Descriptor> {
  const config = await put(configType, {
    ...platform,
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: [{ created_by: 'test' }],
  });
  return put(manifestType, { schemaVersion: 2, mediaType: manifestType, config, layers, annotations: { kept: 'yes' } });
}

async function setRoot(...manifests: Descriptor[]): Promise<void> {
  await writeFile(join(directory, 'from/index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
}

async function readJson(digest: string): Promise<Document> {
  return JSON.parse(await readFile(join(directory, 'to/blobs', digest.replace(':', '/')), 'utf8'));
}

async function convert(platforms: string[] = [], onLayer?: (event: LayerEvent) => void) {
  const source = new OciLayout({ directory: join(directory, 'from'), tag: undefined });
  const destination = new OciLayout({ directory: join(directory, 'to'), tag: 'lazy' });
  const temporaryDirectory = join(directory, 'temporary');
  try {
    return await convertImage(source, destination, { temporaryDirectory, platforms, onLayer });
  } finally {
    assert.deepEqual(await readdir(temporaryDirectory), []);
  }
}

const tar = (name: string): Buffer => buildTar([{ name, data: Buffer.from(`content of ${name}`) }]);

test('convertImage() converts layers of every compression, and each one once', async () => {
  const tars = ['plain', 'gzip', 'zstd'].map(tar);
  const [plain, gzip, zstd] = tars as [Buffer, Buffer, Buffer];
  const layers = [
    await put(layerType, plain),
    {
      ...(await put(`${layerType}+gzip`, gzipSync(gzip))),
      annotations: { 'org.example': 'x', 'io.github.containers.zstd-chunked.manifest-position': '1' },
    },
    await put(`${layerType}+zstd`, zstdCompressSync(zstd)),
  ];
  const [first] = layers as [Descriptor];
  await setRoot(await putImage([...layers, first], [...tars, plain].map(sha256)));
  const done: string[] = [];
  const image = await convert([], ({ state, digest }) => void (state === 'done' && done.push(digest)));

  const manifest = await readJson(image.digest);
  assert.equal(manifest.mediaType, manifestType);
  assert.deepEqual(manifest.annotations, { kept: 'yes' });
  const config = await readJson(manifest.config.digest);
  assert.deepEqual(config.history, [{ created_by: 'test' }]);
  for (const [i, layer] of manifest.layers.entries()) {
    assert.equal(layer.mediaType, `${layerType}+gzip`);
    const inflated = gunzipSync(await readFile(join(directory, 'to/blobs', layer.digest.replace(':', '/'))));
    const source = [...tars, plain][i] ?? assert.fail();
    assert.deepEqual(inflated.subarray(0, source.length), source);
    assert.equal(config.rootfs.diff_ids[i], sha256(inflated));
    assert.equal(layer.annotations['io.containers.estargz.uncompressed-size'], String(inflated.length));
    assert.match(layer.annotations[tocAnnotation] ?? '', /^sha256:/);
  }
  assert.deepEqual(Object.keys(manifest.layers[1].annotations).toSorted(), [
    'containerd.io/snapshot/stargz/toc.digest',
    'io.containers.estargz.uncompressed-size',
    'org.example',
  ]);
  assert.deepEqual(done.toSorted(), layers.map(({ digest }) => digest).toSorted());
});

test('convertImage() makes Docker images OCI images', async () => {
  const content = tar('f');
  const config = await put('application/vnd.docker.container.image.v1+json', {
    os: 'linux',
    architecture: 'arm64',
    rootfs: { type: 'layers', diff_ids: [sha256(content)] },
  });
  const layer = await put('application/vnd.docker.image.rootfs.diff.tar.gzip', gzipSync(content));
  const type = 'application/vnd.docker.distribution.manifest.v2+json';
  const platform = { os: 'linux', architecture: 'arm64', variant: 'v8' };
  const manifest = { ...(await put(type, { schemaVersion: 2, mediaType: type, config, layers: [layer] })), platform };
  const listType = 'application/vnd.docker.distribution.manifest.list.v2+json';
  await setRoot(await put(listType, { schemaVersion: 2, mediaType: listType, manifests: [manifest] }));
  const image = await convert();
  const index = await readJson(image.digest);
  assert.equal(index.mediaType, indexType);
  assert.equal(index.manifests[0].mediaType, manifestType);
  assert.deepEqual(index.manifests[0].platform, platform);
  const converted = await readJson(index.manifests[0].digest);
  assert.equal(converted.config.mediaType, configType);
  assert.equal(converted.layers[0].mediaType, `${layerType}+gzip`);
});

async function putIndex(): Promise<{ amd64: Descriptor; arm64: Descriptor; attestation: Descriptor }> {
  const content = tar('shared');
  const layer = await put(layerType, content);
  const image = async (architecture: string) => {
    const platform = { os: 'linux', architecture };
    return { ...(await putImage([layer], [sha256(content)], platform)), platform };
  };
  const amd64 = await image('amd64');
  const arm64 = await image('arm64');
  const statement = await put('application/vnd.in-toto+json', { predicate: {} });
  const config = await put(configType, {
    os: 'unknown',
    architecture: 'unknown',
    rootfs: { type: 'layers', diff_ids: [sha256(content)] },
  });
  const attestation = {
    ...(await put(manifestType, { schemaVersion: 2, mediaType: manifestType, config, layers: [statement] })),
    platform: { os: 'unknown', architecture: 'unknown' },
    annotations: { 'vnd.docker.reference.type': 'attestation-manifest', 'vnd.docker.reference.digest': amd64.digest },
  };
  await setRoot(
    await put(indexType, { schemaVersion: 2, mediaType: indexType, manifests: [amd64, arm64, attestation] }),
  );
  return { amd64, arm64, attestation };
}

test('convertImage() converts every platform and copies attestations, tied to the new image', async () => {
  const { amd64, attestation } = await putIndex();
  const index = await readJson((await convert()).digest);
  const [newAmd64, newArm64, copied] = index.manifests;
  assert.notEqual(newAmd64.digest, amd64.digest);
  assert.deepEqual(newArm64.platform, { os: 'linux', architecture: 'arm64' });
  assert.equal(copied.digest, attestation.digest);
  assert.equal(copied.annotations['vnd.docker.reference.digest'], newAmd64.digest);
  assert.deepEqual((await readJson(copied.digest)).layers[0].mediaType, 'application/vnd.in-toto+json');
});

test('convertImage() takes only the platforms that are asked for', async () => {
  await putIndex();
  assert.equal((await readJson((await convert(['linux/arm64'])).digest)).manifests.length, 1);
  assert.equal((await readJson((await convert(['linux/amd64'])).digest)).manifests.length, 2);
  await assert.rejects(convert(['linux/s390x']), /no platform "linux\/s390x": it has linux\/amd64, linux\/arm64/);
});

test('convertImage() copies eStargz layers and keeps foreign ones', async () => {
  const content = tar('f');
  const lazy = {
    ...(await put(`${layerType}+gzip`, gzipSync(content))),
    annotations: { [tocAnnotation]: sha256(content) },
  };
  const foreign = {
    mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
    digest: sha256(Buffer.from('w')),
    size: 5,
    urls: ['https://example.com'],
  };
  const diffIds = [sha256(content), sha256(Buffer.from('other'))];
  await setRoot(await putImage([lazy, foreign], diffIds));
  const manifest = await readJson((await convert()).digest);
  assert.deepEqual(manifest.layers, [lazy, foreign]);
  assert.deepEqual((await readJson(manifest.config.digest)).rootfs.diff_ids, diffIds);
});

test('convertImage() refuses blobs that do not match their digest, and leaves no name behind', async () => {
  const content = gzipSync(tar('f'));
  const layer = await put(`${layerType}+gzip`, content);
  await setRoot(await putImage([layer], [sha256(content)]));
  const path = join(directory, 'from/blobs', layer.digest.replace(':', '/'));
  await writeFile(path, gzipSync(tar('g')));
  await assert.rejects(convert(), { code: 'DataLoss' });
  await writeFile(path, content.subarray(0, 20));
  await assert.rejects(convert(), { code: 'DataLoss' });
  await rm(path);
  await assert.rejects(convert(), { code: 'NotFound' });
  await assert.rejects(readFile(join(directory, 'to/index.json')), { code: 'ENOENT' });
});

test('convertImage() refuses what is no image', async () => {
  const layer = await put(layerType, tar('f'));
  const refuses = async (root: Descriptor, message: RegExp) => {
    await setRoot(root);
    await assert.rejects(convert(), message);
  };
  const chart = await put('application/vnd.cncf.helm.config.v1+json', {});
  await refuses(
    await put(manifestType, { config: chart, layers: [] }),
    /not a container image but "application\/vnd\.cncf\.helm/,
  );
  await refuses(await put(manifestType, { schemaVersion: 1, fsLayers: [] }), /schema 1/);
  await refuses(await put(manifestType, Buffer.from('not json')), /not JSON/);
  await refuses(await putImage([layer], []), /0 diff IDs for 1 layers/);
  await refuses(await putImage([{ ...layer, digest: '../../etc/passwd' }], ['']), /no valid digest/);
  await refuses(await putImage([{ ...layer, size: -1 }], ['']), /size out of range/);
  await refuses(
    await putImage([{ ...layer, mediaType: `${layerType}+gzip+encrypted` }], [layer.digest]),
    /only plain, gzip and zstd/,
  );
  let nested = await putImage([layer], [layer.digest]);
  for (let i = 0; i < 6; i++) nested = await put(indexType, { schemaVersion: 2, manifests: [nested] });
  await refuses(nested, /nested more than 4 deep/);
});

test('convertImage() stops at an abort', async () => {
  await putIndex();
  const abort = new AbortController();
  await assert.rejects(
    convertImage(
      new OciLayout({ directory: join(directory, 'from'), tag: undefined }),
      new OciLayout({ directory: join(directory, 'to'), tag: undefined }),
      { temporaryDirectory: join(directory, 'temporary'), signal: abort.signal, onLayer: () => abort.abort() },
    ),
    { code: 'Canceled' },
  );
  assert.deepEqual(await readdir(join(directory, 'temporary')), []);
});

test('OciLayout keeps the other images of the directory, and says which there are', async () => {
  const layer = await put(layerType, tar('f'));
  await setRoot(await putImage([layer], [layer.digest]));
  const source = new OciLayout({ directory: join(directory, 'from'), tag: undefined });
  const to = (tag: string) => new OciLayout({ directory: join(directory, 'to'), tag });
  for (const tag of ['a', 'b', 'a'])
    await convertImage(source, to(tag), { temporaryDirectory: join(directory, 'temporary') });
  assert.equal((await to('a').root()).digest, (await to('b').root()).digest);
  await assert.rejects(to('c').root(), /name one of: b, a/);
  await assert.rejects(new OciLayout({ directory: join(directory, 'to'), tag: undefined }).root(), /name one of: b, a/);
  await assert.rejects(new OciLayout({ directory: join(directory, 'none'), tag: undefined }).root(), {
    code: 'NotFound',
  });
});

test('parseLayoutReference() takes what follows the last colon as a tag', () => {
  const cases: [string, string, string | undefined][] = [
    ['oci-layout:dir', 'dir', undefined],
    ['oci-layout:/a/b:v1.0', '/a/b', 'v1.0'],
    ['oci-layout:/a:b/c', '/a:b/c', undefined],
    ['oci-layout:a:b:c', 'a:b', 'c'],
  ];
  for (const [text, path, tag] of cases) assert.deepEqual(parseLayoutReference(text), { directory: path, tag });
  assert.equal(parseLayoutReference('localhost:5000/a'), undefined);
  assert.throws(() => parseLayoutReference('oci-layout:'), { code: 'InvalidArgument' });
});

test('An image layout that cannot be written is named', async () => {
  await writeFile(join(directory, 'file'), '');
  const bytes = Buffer.from('{}');
  const digest = `sha256:${hash('sha256', bytes)}`;
  for (const where of [join(directory, 'file'), '/proc/nothing']) {
    const layout = new OciLayout({ directory: where, tag: undefined });
    await assert.rejects(layout.putManifest('text/plain', digest, bytes), {
      code: 'Unavailable',
      message: `Cannot write "${join(where, 'blobs', ...digest.split(':'))}"`,
    });
  }
});

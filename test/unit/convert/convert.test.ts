import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { convertImage, type UnconvertedMember } from '../../../src/convert/convert.ts';
import type { LayerEvent } from '../../../src/convert/layer-converter.ts';
import { LazypullError } from '../../../src/errors.ts';
import { OciLayout, parseLayoutReference } from '../../../src/convert/oci-layout.ts';
import { estargz } from '../../../src/formats/estargz/format.ts';
import { LazyCheck } from '../../../src/layers/resolve/lazy-check.ts';
import { parsePlatform } from '../../../src/images/platforms.ts';
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
  architecture: string;
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

function readBytes(digest: string): Promise<Buffer> {
  return readFile(join(directory, 'to/blobs', digest.replace(':', '/')));
}

async function convert(
  platforms: string[] = [],
  onLayer?: (event: LayerEvent) => void,
  onKept?: (member: UnconvertedMember) => void,
  onNotLazy?: (layer: { source: string; reason: string }) => void,
) {
  const source = new OciLayout({ directory: join(directory, 'from'), tag: undefined });
  const destination = new OciLayout({ directory: join(directory, 'to'), tag: 'lazy' });
  const temporaryDirectory = join(directory, 'temporary');
  try {
    return await convertImage(source, destination, {
      temporaryDirectory,
      platforms: platforms.map(parsePlatform),
      onLayer,
      onKept,
      check: new LazyCheck(estargz),
      onNotLazy,
    });
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

test('convertImage() takes the best match of each platform, in an index of an index too', async () => {
  const { amd64, arm64 } = await putIndex();
  const v2 = { ...amd64, digest: arm64.digest, platform: { os: 'linux', architecture: 'amd64', variant: 'v2' } };
  const spelled = { ...arm64, platform: { os: 'Linux', architecture: 'aarch64', variant: 'v8' } };
  const inner = await put(indexType, { schemaVersion: 2, manifests: [v2, amd64, spelled] });
  await setRoot(await put(indexType, { schemaVersion: 2, manifests: [inner] }));
  for (const [asked, platform] of [
    ['linux/amd64', amd64.platform],
    ['linux/arm64', spelled.platform],
    ['x86_64', amd64.platform],
    ['linux/amd64/v4', v2.platform],
  ] as const) {
    const { manifests } = await readJson((await convert([asked])).digest);
    assert.equal(manifests.length, 1);
    const members = (await readJson(manifests[0].digest)).manifests;
    assert.deepEqual(
      members.map((member) => member.platform),
      [platform],
      asked,
    );
  }
});

test('convertImage() copies what it cannot convert of an index as it is, and says so', async () => {
  const good = tar('good');
  const platform = (architecture: string) => ({ platform: { os: 'linux', architecture } });
  const layer = await put(layerType, good);
  const image = async (architecture: string, ...layers: Descriptor[]) => ({
    ...(await putImage(
      layers,
      layers.map(() => sha256(good)),
      { os: 'linux', architecture },
    )),
    ...platform(architecture),
  });
  const broken = await put(`${layerType}+gzip`, gzipSync(Buffer.alloc(600, 'not a tar')));
  const noIds = await put(configType, { ...platform('riscv64').platform, rootfs: { diff_ids: null } });
  const schema1 = await put('application/vnd.docker.distribution.manifest.v1+prettyjws', { schemaVersion: 1 });
  const artifact = await put(manifestType, {
    config: await put('application/vnd.oci.empty.v1+json', {}),
    layers: [await put('text/spdx', Buffer.from('sbom'))],
  });
  const gone = { mediaType: 'text/plain', digest: sha256(Buffer.from('gone')), size: 4 };
  const members = [
    await image('arm64', layer, broken),
    await image('amd64', layer),
    { ...(await put(manifestType, { config: noIds, layers: [layer] })), ...platform('riscv64') },
    schema1,
    artifact,
    await put('text/plain', Buffer.from('a blob')),
    gone,
    { ...gone, mediaType: manifestType, digest: sha256(Buffer.from('not copied')), ...platform('s390x') },
  ];
  await setRoot(await put(indexType, { schemaVersion: 2, manifests: members }));
  const kept: UnconvertedMember[] = [];
  const { manifests } = await readJson((await convert([], undefined, (member) => kept.push(member))).digest);
  const written = manifests as Descriptor[];
  assert.deepEqual(
    written.map(({ digest }, i) => digest === members[i]!.digest),
    [true, false, true, true, true, true],
  );
  assert.deepEqual(
    kept.map(({ digest, platform: name }) => [members.findIndex((member) => member.digest === digest), name]),
    [
      [0, 'linux/arm64'],
      [2, 'linux/riscv64'],
      [3, undefined],
      [4, undefined],
      [5, undefined],
      [6, undefined],
      [7, 'linux/s390x'],
    ],
  );
  assert.match(kept[0]!.reason, /Cannot read the tar archive at byte 0/);
  assert.match(kept[1]!.reason, /0 diff IDs for 1 layers/);
  assert.match(kept[3]!.reason, /^it is not a container image but "application\/vnd\.oci\.empty\.v1\+json"$/);
  assert.match(kept[5]!.reason, /cannot be copied: /);
  assert.match(kept[6]!.reason, /^it cannot be copied: .* does not have it/);
  assert.deepEqual(
    kept.map(({ isLeftOut }) => isLeftOut),
    [false, false, false, false, false, true, true],
  );
  for (const { digest } of [broken, layer, noIds, ...written]) await readBytes(digest);
  assert.match((await readJson(written[1]!.digest)).layers[0].annotations[tocAnnotation] ?? '', /^sha256:/);
  await rm(join(directory, 'to'), { recursive: true });
  await writeFile(join(directory, 'from/blobs', broken.digest.replace(':', '/')), 'other bytes');
  await assert.rejects(convert(), { code: 'DataLoss' }, 'what has not its digest is not copied either');
});

test('convertImage() copies a blob of an index whatever the registry says of it as a manifest', async () => {
  const content = tar('f');
  const blob = await put('text/plain', Buffer.from('a blob'));
  const image = await putImage([await put(layerType, content)], [sha256(content)]);
  const gone = { mediaType: 'text/plain', digest: sha256(Buffer.from('gone')), size: 4 };
  class Registry extends OciLayout {
    override manifest(descriptor: Parameters<OciLayout['manifest']>[0]): Promise<Buffer> {
      if (descriptor.mediaType !== 'text/plain') return super.manifest(descriptor);
      return Promise.reject(new LazypullError('Unavailable', '500 Internal Server Error'));
    }
  }
  const source = new Registry({ directory: join(directory, 'from'), tag: undefined });
  const destination = new OciLayout({ directory: join(directory, 'to'), tag: 'lazy' });
  const kept: UnconvertedMember[] = [];
  const options = { temporaryDirectory: directory, onKept: (member: UnconvertedMember) => kept.push(member) };
  await setRoot(await put(indexType, { manifests: [blob, image] }));
  const { digest, isLazy } = await convertImage(source, destination, options);
  assert.equal((await readJson(digest)).manifests[0].digest, blob.digest);
  assert.equal(String(await readBytes(blob.digest)), 'a blob');
  assert.deepEqual([kept.length, kept[0]?.isLeftOut, isLazy], [1, false, true]);
  await setRoot(await put(indexType, { manifests: [gone, image] }));
  await assert.rejects(convertImage(source, destination, options), /500 Internal Server Error/);
});

test('convertImage() copies a layer that is no tar, and converts the others', async () => {
  const content = tar('f');
  const encrypted = await put(`${layerType}+gzip+encrypted`, Buffer.from('secret'));
  const plain = await put(layerType, content);
  const secret = sha256(Buffer.from('what it was'));
  await setRoot(await putImage([encrypted, plain], [secret, sha256(content)]));
  const manifest = await readJson((await convert()).digest);
  assert.deepEqual(manifest.layers[0], encrypted);
  assert.match(manifest.layers[1].annotations[tocAnnotation] ?? '', /^sha256:/);
  assert.equal((await readJson(manifest.config.digest)).rootfs.diff_ids[0], secret);
  assert.equal(String(await readBytes(encrypted.digest)), 'secret');
});

test('convertImage() says of each layer that cannot be lazy, and whether the image is', async () => {
  const layerOf = async (...names: string[]) => {
    const entries = names.map((name) =>
      name.endsWith('@') ? { name: name.slice(0, -1), typeflag: '2', linkName: 'x' } : { name },
    );
    const content = buildTar(entries);
    return { layer: await put(layerType, content), diffId: sha256(content) };
  };
  const good = await layerOf('a');
  const below = await layerOf('bin@', 'bin/tool');
  const long = await layerOf(`${'d'.repeat(250)}/`.repeat(17));
  const link = await layerOf('bin@');
  const through = await layerOf('bin/tool');
  const encrypted = { layer: await put(`${layerType}+encrypted`, Buffer.from('x')), diffId: good.diffId };
  const imageOf = async (...layers: { layer: Descriptor; diffId: string }[]) =>
    putImage(
      layers.map(({ layer }) => layer),
      layers.map(({ diffId }) => diffId),
    );
  const outcome = async (...images: Descriptor[]) => {
    const found: string[] = [];
    const [only] = images as [Descriptor];
    await setRoot(images.length === 1 ? only : await put(indexType, { schemaVersion: 2, manifests: images }));
    const all = { below, long, link, through, encrypted };
    const { isLazy } = await convert([], undefined, undefined, ({ source, reason }) => {
      found.push(`${Object.entries(all).find(([, { layer }]) => layer.digest === source)?.[0]} ${reason}`);
    });
    return [isLazy, ...found];
  };
  assert.deepEqual(await outcome(await imageOf(good)), [true]);
  assert.deepEqual(await outcome(await imageOf(good, below)), [false, 'below unsupported']);
  assert.deepEqual(await outcome(await imageOf(long)), [false, 'long limit']);
  assert.deepEqual(await outcome(await imageOf(link, through)), [false, 'through stacking']);
  assert.deepEqual(await outcome(await imageOf(good), await imageOf(below), await imageOf(below, good)), [
    false,
    'below unsupported',
  ]);
  assert.deepEqual(await outcome(await imageOf(encrypted, good)), [false, 'encrypted unsupported']);
  const mixed = await outcome(await imageOf(good), await imageOf(encrypted, good));
  assert.deepEqual(
    mixed,
    [true, 'encrypted unsupported'],
    'what stays as it is does not count where another image is lazy',
  );
  assert.deepEqual(await outcome(await imageOf()), [true]);
});

test('convertImage() takes null for an empty list, as Go does, and an image without layers', async () => {
  for (const layers of [null, []]) {
    const config = await put(configType, {
      os: 'linux',
      architecture: 'amd64',
      config: { Env: null, Labels: { a: 'b' } },
      rootfs: { type: 'layers', diff_ids: layers },
      history: null,
    });
    const image = await put(manifestType, { schemaVersion: 2, config, layers, annotations: null });
    const member = {
      ...image,
      annotations: null as unknown as Record<string, string>,
      platform: null as unknown as object,
    };
    await setRoot(await put(indexType, { schemaVersion: 2, manifests: [member], annotations: null }));
    const { manifests } = await readJson((await convert(['linux/amd64'])).digest);
    const manifest = await readJson(manifests[0].digest);
    assert.deepEqual(manifest.layers, []);
    assert.deepEqual((await readJson(manifest.config.digest)).rootfs.diff_ids, []);
  }
  await setRoot(await put(indexType, { schemaVersion: 2, manifests: null }));
  assert.deepEqual((await readJson((await convert()).digest)).manifests, []);
});

test('convertImage leaves out what SOCI knows of the old layers', async () => {
  const { amd64 } = await putIndex();
  const soci = 'com.amazon.soci.index-digest';
  const annotated = async (of: Descriptor) => {
    const manifest = JSON.parse(String(await readFile(join(directory, 'from/blobs', of.digest.replace(':', '/')))));
    return put(manifestType, { ...manifest, annotations: { [soci]: sha256(Buffer.from('soci')), kept: 'yes' } });
  };
  const image = { ...(await annotated(amd64)), platform: amd64.platform!, annotations: { [soci]: 'x', stays: 'y' } };
  const sociIndex = {
    ...(await put(manifestType, { config: await put('application/vnd.amazon.soci.index.v2+json', {}), layers: [] })),
    platform: amd64.platform!,
    annotations: { 'com.amazon.soci.image-manifest-digest': image.digest },
  };
  const other = {
    ...sociIndex,
    annotations: { 'com.amazon.soci.image-manifest-digest': sha256(Buffer.from('other')) },
  };
  const manifests = [image, sociIndex, other];
  await setRoot(await put(indexType, { schemaVersion: 2, manifests, annotations: { [soci]: 'x', a: 'b' } }));
  const index = await readJson((await convert()).digest);
  assert.deepEqual(index.annotations, { a: 'b' });
  assert.equal(index.manifests.length, 2, 'the SOCI index of the image that was converted is gone');
  assert.deepEqual(index.manifests[0].annotations, { stays: 'y' });
  assert.deepEqual((await readJson(index.manifests[0].digest)).annotations, { kept: 'yes' });
});

test('convertImage() copies eStargz layers and keeps foreign ones', async () => {
  const content = tar('f');
  await setRoot(await putImage([await put(layerType, content)], [sha256(content)]));
  const [lazy] = (await readJson((await convert()).digest)).layers;
  await put(lazy.mediaType, await readBytes(lazy.digest));
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

test('convertImage() converts a layer that says that it is eStargz and is not', async () => {
  const content = tar('f');
  const annotations = { [tocAnnotation]: sha256(content), kept: 'yes' };
  const claims = { ...(await put(`${layerType}+gzip`, gzipSync(content))), annotations };
  await setRoot(await putImage([claims], [sha256(content)]));
  const { digest, isLazy } = await convert();
  const [layer] = (await readJson(digest)).layers;
  assert.ok(isLazy);
  assert.notEqual(layer.digest, claims.digest);
  assert.notEqual(layer.annotations[tocAnnotation], annotations[tocAnnotation]);
  assert.equal(layer.annotations['kept'], 'yes');
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
  assert.equal((await to('a').root([])).digest, (await to('b').root([])).digest);
  await assert.rejects(to('c').root([]), /name one of: b, a/);
  await assert.rejects(
    new OciLayout({ directory: join(directory, 'to'), tag: undefined }).root([]),
    /name one of: b, a/,
  );
  await assert.rejects(new OciLayout({ directory: join(directory, 'none'), tag: undefined }).root([]), {
    code: 'NotFound',
  });
});

test('convertImage chooses an image of a layout by a name with slashes and colons, by its digest, or by its platform', async () => {
  const image = async (architecture: string, annotations?: Record<string, string>) => {
    const content = tar(architecture);
    const own = await putImage([await put(layerType, content)], [sha256(content)], { os: 'linux', architecture });
    return { ...own, ...(annotations === undefined ? {} : { annotations }) };
  };
  const name = 'org.opencontainers.image.ref.name';
  const named = await image('riscv64', { [name]: 'registry.example:5000/team/app:1.0' });
  const tagged = await image('mips', { [name]: '2', 'io.containerd.image.name': 'docker.io/library/app:2' });
  const [amd64, arm64] = [await image('amd64'), await image('arm64')];
  await setRoot(amd64, named, arm64, tagged);
  const from = `oci-layout:${join(directory, 'from')}`;
  const source = (text: string) => new OciLayout(parseLayoutReference(text) ?? assert.fail());
  const digestOf = async (text: string) => (await source(text).root([])).digest;
  assert.equal(await digestOf(`${from}:registry.example:5000/team/app:1.0`), named.digest);
  assert.equal(await digestOf(`${from}:2`), tagged.digest);
  assert.equal(await digestOf(`${from}:docker.io/library/app:2`), tagged.digest);
  assert.equal(await digestOf(`${from}@${arm64.digest}`), arm64.digest);
  assert.equal(await digestOf(`${from}:2@${tagged.digest}`), tagged.digest);
  await assert.rejects(digestOf(`${from}:2@${arm64.digest}`), { code: 'NotFound' });
  await assert.rejects(
    digestOf(from),
    /name one of: @sha256:\w+, registry\.example:5000\/team\/app:1\.0, @sha256:\w+, 2$/,
  );

  await setRoot(amd64, arm64);
  await assert.rejects(digestOf(from), /choose by --platform, or append @DIGEST of one of: @sha256:\w+, @sha256:\w+$/);
  const { manifests } = await readJson((await convert(['linux/arm64'])).digest);
  assert.equal(manifests.length, 1);
  assert.equal((await readJson((await readJson(manifests[0].digest)).config.digest)).architecture, 'arm64');
  const made = join(directory, 'made:here');
  await mkdir(made);
  const target = source(`oci-layout:${made}:registry.example/app:lazy`);
  await convertImage(source(`${from}@${amd64.digest}`), target, { temporaryDirectory: join(directory, 'temporary') });
  const { manifests: written } = JSON.parse(await readFile(join(made, 'index.json'), 'utf8')) as Document;
  assert.equal(written[0].annotations?.[name], 'registry.example/app:lazy');
});

test('parseLayoutReference() takes what follows the last colon as a tag', () => {
  const cases: [string, string, string | undefined][] = [
    ['oci-layout:dir', 'dir', undefined],
    ['oci-layout:/a/b:v1.0', '/a/b', 'v1.0'],
    ['oci-layout:/a:b/c', '/a:b/c', undefined],
    ['oci-layout:a:b:c', 'a:b', 'c'],
    ['oci-layout:a:registry.example:5000/b/c:1.0', 'a', 'registry.example:5000/b/c:1.0'],
    [`oci-layout:${directory}/a:b/c:1.0`, `${directory}/a`, 'b/c:1.0'],
    ['oci-layout:a/b:c/d:1.0', 'a/b:c/d', '1.0'],
  ];
  for (const [text, path, tag] of cases) assert.deepEqual(parseLayoutReference(text), { directory: path, tag });
  const digest = sha256(Buffer.from('x'));
  assert.deepEqual(parseLayoutReference(`oci-layout:a:b@${digest}`), { directory: 'a', tag: 'b', digest });
  assert.throws(() => parseLayoutReference('oci-layout:a@sha256:123'), { code: 'InvalidArgument' });
  assert.equal(parseLayoutReference('localhost:5000/a'), undefined);
  assert.throws(() => parseLayoutReference('oci-layout:'), { code: 'InvalidArgument' });
});

test('convertImage names an image layout that cannot be written', async () => {
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

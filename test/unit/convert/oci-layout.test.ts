import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { OciLayout, parseLayoutReference } from '../../../src/convert/oci-layout.ts';
import { parsePlatform } from '../../../src/images/platforms.ts';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const digestOf = (bytes: Uint8Array) => `sha256:${hash('sha256', bytes)}`;
const layout = (directory: string, tag?: string, digest?: string) => new OciLayout({ directory, tag, digest });

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'lazypull-layout-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

async function collect(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

test('parseLayoutReference leaves alone what is no layout', () => {
  assert.equal(parseLayoutReference('registry.example/oci-layout:1'), undefined);
});

test('parseLayoutReference takes the longest directory that is there, and the rest as the name', async (t) => {
  const root = await directory(t);
  await mkdir(join(root, 'a:b'));
  const parse = (text: string) => parseLayoutReference(`oci-layout:${join(root, text)}`);
  assert.deepEqual(parse('a:b'), { directory: join(root, 'a:b'), tag: undefined });
  assert.deepEqual(parse('a:b:c/d:1'), { directory: join(root, 'a:b'), tag: 'c/d:1' });
});

test('parseLayoutReference reads a digest, and refuses one that is not, or no directory', async (t) => {
  const root = await directory(t);
  const digest = `sha256:${'a'.repeat(64)}`;
  assert.deepEqual(parseLayoutReference(`oci-layout:${root}:x@${digest}`), { directory: root, tag: 'x', digest });
  for (const text of ['oci-layout:', `oci-layout:${root}@sha256:abc`, `oci-layout:@${digest}`]) {
    assert.throws(() => parseLayoutReference(text), { code: 'InvalidArgument', message: /write oci-layout:DIRECTORY/ });
  }
});

test('parseLayoutReference splits a directory that is not there yet at its last colon', async (t) => {
  const root = await directory(t);
  assert.deepEqual(parseLayoutReference(`oci-layout:${root}/new:1`), { directory: join(root, 'new'), tag: '1' });
  assert.deepEqual(parseLayoutReference(`oci-layout:${root}/new`), { directory: join(root, 'new'), tag: undefined });
});

test('OciLayout gives back what was put, under the name that it was put under', async (t) => {
  const root = join(await directory(t), 'layout');
  const destination = layout(root, 'one');
  const blob = Buffer.from('a blob');
  const manifest = Buffer.from('{"schemaVersion":2}');
  await destination.putBlob({ digest: digestOf(blob), size: blob.length }, () => Readable.from([blob]));
  await destination.putRoot(manifestType, digestOf(manifest), manifest);
  assert.equal(await destination.hasBlob(digestOf(blob)), true);
  assert.equal(await destination.hasBlob(digestOf(Buffer.from('another'))), false);
  const found = await layout(root, 'one').root([]);
  assert.deepEqual(
    [found.mediaType, found.digest, String(found.bytes)],
    [manifestType, digestOf(manifest), String(manifest)],
  );
  assert.deepEqual(await collect(destination.blob({ digest: digestOf(blob), size: blob.length })), blob);
  assert.deepEqual((await readdir(root)).sort(), ['blobs', 'index.json', 'oci-layout']);
});

test('OciLayout.putRoot replaces the image of its name and keeps the others', async (t) => {
  const root = await directory(t);
  for (const [name, text] of [
    ['a', '{"schemaVersion":2,"n":1}'],
    ['b', '{"schemaVersion":2,"n":2}'],
    ['a', '{"schemaVersion":2,"n":3}'],
  ] as const) {
    await layout(root, name).putRoot(manifestType, digestOf(Buffer.from(text)), Buffer.from(text));
  }
  assert.match(String((await layout(root, 'a').root([])).bytes), /"n":3/);
  assert.match(String((await layout(root, 'b').root([])).bytes), /"n":2/);
  const index = JSON.parse(await readFile(join(root, 'index.json'), 'utf8')) as { manifests: object[] };
  assert.equal(index.manifests.length, 2);
  await assert.rejects(layout(root).root([]), { code: 'NotFound', message: /name one of: b, a$/ });
  await assert.rejects(layout(root, 'c').root([]), { code: 'NotFound', message: /name one of: b, a$/ });
  await assert.rejects(layout(join(root, 'none')).root([]), { code: 'NotFound', message: /does not exist/ });
});

test('OciLayout.root offers several images of one name as an index that platforms choose from', async (t) => {
  const root = await directory(t);
  const manifests = ['amd64', 'arm64'].map((architecture, i) => ({
    mediaType: manifestType,
    digest: `sha256:${String(i).repeat(64)}`,
    size: 2,
    platform: { os: 'linux', architecture },
    annotations: { 'org.opencontainers.image.ref.name': 'x' },
  }));
  await writeFile(join(root, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  const index = await layout(root, 'x').root([parsePlatform('linux/arm64')]);
  assert.equal(index.mediaType, 'application/vnd.oci.image.index.v1+json');
  assert.equal(index.digest, digestOf(index.bytes));
  await assert.rejects(layout(root, 'x').root([]), {
    message: /choose by --platform, or append @DIGEST of one of: x /,
  });
});

test('OciLayout passes on no blob whose content is not that of its digest', async (t) => {
  const root = await directory(t);
  const blob = Buffer.from('a blob');
  const id = { digest: digestOf(blob), size: blob.length };
  const destination = layout(root);
  await assert.rejects(
    destination.putBlob(id, () => Readable.from([Buffer.from('others')])),
    { code: 'DataLoss' },
  );
  assert.equal(await destination.hasBlob(id.digest), false);
  await destination.putBlob(id, () => Readable.from([blob]));
  await truncate(join(root, 'blobs', 'sha256', id.digest.slice(7)), 3);
  await assert.rejects(collect(destination.blob(id)), { code: 'DataLoss' });
  await assert.rejects(collect(destination.blob({ digest: digestOf(Buffer.from('x')), size: 1 })), {
    code: 'NotFound',
  });
  assert.deepEqual(await readdir(join(root, 'blobs', 'sha256')), [id.digest.slice(7)]);
});

test('OciLayout reads no file for a digest that is none, and no index that is too large', async (t) => {
  const root = await directory(t);
  await assert.rejects(collect(layout(root).blob({ digest: 'sha256:../../etc/passwd', size: 1 })), {
    code: 'InvalidArgument',
  });
  await writeFile(join(root, 'index.json'), '');
  await truncate(join(root, 'index.json'), 5 << 20);
  await assert.rejects(layout(root).root([]), { code: 'InvalidArgument', message: /larger than 4194304 bytes/ });
});

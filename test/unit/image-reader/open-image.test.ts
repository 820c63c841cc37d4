import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { explain } from '../../../src/errors.ts';
import { resolveImage } from '../../../src/images/resolve.ts';
import { openImage } from '../../../src/image-reader/open-image.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import { parseReference } from '../../../src/registry/reference.ts';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { startRegistry } from '../../support/registry.ts';
import { type LayerSpec, serveImage } from '../../support/served-image.ts';

async function start(t: TestContext, layers: readonly LayerSpec[]) {
  const registry = await startRegistry();
  const client = new RegistryClient({ environment: {}, retry: { tries: 1 } });
  t.after(async () => {
    await client.close();
    await registry[Symbol.asyncDispose]();
  });
  const digests = serveImage(registry, 'app', layers);
  const open = async () => openImage(client, await resolveImage(client, parseReference(`${registry.host}/app:1`)));
  return { registry, digests, open };
}

async function collect(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

const file = (path: string, content: Buffer): FileSpec => ({ path, type: 'reg', mode: 0o644, content });

test('openImage reads a file out of its layer alone, and only its own part of it', async (t) => {
  const large = randomBytes(2_500_000);
  const noise = randomBytes(3_000_000);
  const { registry, digests, open } = await start(t, [
    [file('before', noise), file('large', large), file('after', noise)],
    [file('small', Buffer.from('small')), file('empty', Buffer.alloc(0))],
  ]);
  const image = await open();
  registry.resetCounts();
  assert.ok((await collect(image.read(image.tree.find('large')))).equals(large));
  assert.ok(registry.bytes < large.length * 1.1, `${registry.bytes} bytes were fetched`);
  assert.ok(registry.requests.every(({ path }) => path.endsWith(digests[0]!)));
  assert.equal(String(await collect(image.read(image.tree.find('small')))), 'small');
  assert.equal((await collect(image.read(image.tree.find('empty')))).length, 0);
});

test('openImage shows an image without layers as an empty directory', async (t) => {
  const { open } = await start(t, []);
  const { tree } = await open();
  const root = tree.find('/');
  assert.deepEqual([root.isDirectory, root.entry.mode, root.links, tree.list(root)], [true, 0o755, 2, []]);
  assert.equal(tree.find('/..').path, '');
  assert.throws(() => tree.find('/etc/passwd'), { code: 'NotFound' });
});

test('openImage reads files that share a gzip stream, and files of several', async (t) => {
  const files = Array.from({ length: 40 }, (_, i) => file(`f${i}`, randomBytes(i * 9_000)));
  const { open } = await start(t, [estargzBlob(files, 50_000, 400_000)]);
  const image = await open();
  for (const { path, content } of files) {
    assert.ok((await collect(image.read(image.tree.find(path)))).equals(content!), path);
  }
});

test('openImage does not give bytes that lack their digests', async (t) => {
  const content = randomBytes(350_000);
  const { registry, open } = await start(t, [[file('file', content)]]);
  const image = await open();
  registry.script({ path: /blobs/ }, { kind: 'corrupt' });
  const got: Buffer[] = [];
  await assert.rejects(
    async () => {
      for await (const piece of image.read(image.tree.find('file'))) got.push(piece);
    },
    { code: 'DataLoss' },
  );
  const right = Buffer.concat(got);
  assert.ok(right.equals(content.subarray(0, right.length)));
});

test('openImage names a layer that cannot be read in parts, with what to do', async (t) => {
  const { digests, open } = await start(t, [[file('a', Buffer.from('a'))], gzipSync(Buffer.alloc(5000))]);
  await assert.rejects(open(), (error: Error) => {
    assert.match(error.message, /^Cannot read layer 2 of 2 of ".*\/app:1", sha256:/);
    assert.ok(error.message.includes(digests[1]!));
    assert.match(
      explain(error),
      /it is plain gzip; convert the image with "lazypull convert", or have "lazypull mount" pull it/,
    );
    return true;
  });
});

test('openImage refuses a table of contents that is not the one of the manifest', async (t) => {
  const { bytes, context, ...blob } = estargzBlob([file('a', Buffer.from('a'))]);
  const wrong = { ...blob, bytes, context: { ...context, tocDigest: `sha256:${'0'.repeat(64)}` } };
  const { open } = await start(t, [wrong]);
  await assert.rejects(open(), { code: 'DataLoss', message: /^Cannot read layer 1 of 1 /, hint: /build or convert/ });
});

test('openImage bounds all layers of an image together, whatever each of them takes', async (t) => {
  const names = estargzBlob(Array.from({ length: 350_000 }, (_, i): FileSpec => ({ path: `f${i}`, type: 'fifo' })));
  const rows = await start(t, [names, names]);
  assert.equal((await rows.open()).tree.find('f349999').entry.type, 'fifo');
  const more = await start(t, [names, names, names]);
  await assert.rejects(more.open(), {
    code: 'ResourceExhausted',
    message: /^Cannot read layer \d of 3 .* have more than 1000000 files and chunks, .* together/,
  });
  const xattrs = Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`user.${i}`, Buffer.alloc(64_000)]));
  const files = Array.from({ length: 70 }, (_, i): FileSpec => ({ path: `f${i}`, type: 'reg', xattrs }));
  const long = await start(t, [estargzBlob(files), estargzBlob(files)]);
  await assert.rejects(long.open(), { code: 'ResourceExhausted', message: /of names and attributes together/ });
});

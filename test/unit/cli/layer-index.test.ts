import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { zstdCompressSync } from 'node:zlib';
import { sha256 } from '../../../src/chunks/digest.ts';
import { ociManifest } from '../../../src/images/media-types.ts';
import { encodeArtifact, parseArtifact } from '../../../src/indexes/artifact.ts';
import { IndexStore } from '../../../src/indexes/index-store.ts';
import { silentLog } from '../../../src/log.ts';
import { keyPair, layerDigest, type MadeIndex, madeIndex, temporaryRoot } from '../../support/index-lab.ts';
import { plainImage, serveImage } from '../../support/plain-image.ts';
import { startRegistry } from '../../support/registry.ts';
import { buildTar } from '../../support/tar-builder.ts';

const main = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));
const made = { kind: 'made', where: '' } as const;

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `lazypull index` on the indexes of a root. */
function index(root: string, ...args: string[]): Promise<Result> {
  const all = [main, 'index', ...args, '--root', root];
  return new Promise((resolve) => {
    execFile(process.execPath, all, { encoding: 'latin1' }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
  });
}

async function fill(root: string, ...indexes: MadeIndex[]): Promise<IndexStore> {
  const store = new IndexStore(root, 0, silentLog);
  for (const { index: each, bytes } of indexes) await store.keep({ ...each, origin: made }, [bytes]);
  return store;
}

test('lazypull index ls shows what is kept, and prune removes what was not used', async () => {
  await using root = await temporaryRoot();
  const [old, recent] = [madeIndex(layerDigest('old')), madeIndex(layerDigest('recent'))];
  const store = await fill(root.path, old, recent);
  const time = Date.now() / 1000 - 49 * 3600;
  await utimes((await store.list()).find(({ layer }) => layer === old.index.layer)!.path, time, time);
  const listed = await index(root.path, 'ls');
  const last = `\n2 indexes, 10.0 kB in ${join(root.path, 'indexes')}\n`;
  assert.ok(listed.stdout.endsWith(last), listed.stdout);
  assert.match(
    listed.stdout.slice(0, -last.length),
    /^LAYER +SIZE +LAST USED +FROM\n[0-9a-f]{12} +5\.0 kB +2d ago +made here\n[0-9a-f]{12} .*$/,
  );
  const rows = (await index(root.path, 'ls', '--json')).stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    rows.map(({ layer, from, bytes }) => ({ layer, from, bytes })),
    [old, recent].map(({ index: { layer } }) => ({ layer, from: 'made', bytes: 5000 })),
  );
  const pruned = await index(root.path, 'prune', '--older-than', '1d');
  assert.equal(pruned.stdout, `${old.index.layer}  5.0 kB\nremoved 1 index, 5.0 kB\n`);
  assert.equal((await index(root.path, 'prune', '--json')).stdout.trim().split('\n').length, 1);
  assert.deepEqual(await store.list(), []);
  assert.equal((await index(root.path, 'prune', '--older-than', 'x')).code, 2);
});

test('lazypull index export and import take indexes to another machine, signed if a key is given', async () => {
  await using from = await temporaryRoot();
  await using to = await temporaryRoot();
  const all = ['a', 'b', 'c'].map((name) => madeIndex(layerDigest(name)));
  await fill(from.path, ...all);
  const key = keyPair();
  const [keyFile, config, file] = ['key.pem', 'config.toml', 'indexes.tar'].map((name) => join(from.path, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(keyFile, key.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await writeFile(config, `[index]\ntrusted_keys = [${JSON.stringify(key.publicPem)}]\n`);

  const exported = await index(from.path, 'export', '--layer', layerDigest('a'), file);
  assert.match(exported.stderr, /Exported 1 index of ".*" to ".*indexes\.tar", 5\.0 kB/);
  const unsigned = await index(to.path, 'import', '--config', config, file);
  assert.equal(unsigned.stdout, '1\n');
  assert.match(unsigned.stderr, /The index of [0-9a-f]{12} will not be used: it is not signed/);

  await index(from.path, 'export', '--sign', keyFile, file);
  const signed = await index(to.path, 'import', '--config', config, file);
  assert.equal(signed.stdout, '3\n');
  assert.match(signed.stderr, /^lazypull: Imported 3 indexes into ".*"\n$/);
  const store = new IndexStore(to.path, 0, silentLog);
  for (const { index: each, bytes } of all) {
    const kept = await store.find(each.layer);
    assert.deepEqual(kept?.origin, { kind: 'imported', where: 'indexes.tar' });
    assert.equal(typeof kept?.signature?.key, 'string');
    assert.deepEqual(await store.read(kept!, 0, 5000), bytes);
  }
});

test('lazypull index import keeps what was made here, and refuses a damaged file', async () => {
  await using from = await temporaryRoot();
  await using to = await temporaryRoot();
  await fill(from.path, madeIndex(layerDigest('a')), madeIndex(layerDigest('b')));
  const own = madeIndex(layerDigest('b'));
  const store = await fill(to.path, own);
  const { stdout } = await index(from.path, 'export');
  const file = join(from.path, 'indexes.tar');
  const bytes = Buffer.from(stdout, 'latin1');
  await writeFile(file, bytes);
  assert.equal((await index(to.path, 'import', file)).stdout, '1\n');
  assert.equal((await store.find(layerDigest('b')))?.digest, own.index.digest);

  await store.remove(layerDigest('a'));
  const at = bytes.length - 2000; // of the last one
  bytes[at]! ^= 1;
  await writeFile(file, bytes);
  const damaged = await index(to.path, 'import', file);
  assert.equal(damaged.code, 1);
  assert.match(damaged.stderr, /Cannot use a layer index: /);
  assert.equal(await store.find(layerDigest('a')), undefined);
  await writeFile(file, bytes.subarray(0, at));
  assert.equal((await index(to.path, 'import', file)).code, 1);
  assert.match((await index(to.path, 'import', main)).stderr, /tar archive/);
  assert.match((await index(to.path, 'import', '/not/there')).stderr, /Cannot read "\/not\/there"/);
});

test('lazypull index export leaves a file as it was when it fails', async () => {
  await using root = await temporaryRoot();
  const file = join(root.path, 'indexes.tar');
  await writeFile(file, 'before');
  const { code, stderr } = await index(root.path, 'export', '--layer', layerDigest('a'), file);
  assert.equal(code, 1);
  assert.match(stderr, /There is no index of the layer sha256:/);
  assert.equal(await readFile(file, 'utf8'), 'before');
  await assert.rejects(stat(`${file}.new`), { code: 'ENOENT' });
});

test('lazypull index makes the indexes of an image, for a repository, a file or this machine', async () => {
  await using root = await temporaryRoot();
  await using registry = await startRegistry();
  const image = plainImage([9_000_000, 10]);
  serveImage(registry, 'app', '1', image);
  const name = `${registry.host}/app:1`;
  const key = keyPair();
  const [keyFile, config, file] = ['key.pem', 'config.toml', 'indexes.tar'].map((each) => join(root.path, each)) as [
    string,
    string,
    string,
  ];
  await writeFile(keyFile, key.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const trusted = `trusted_keys = [${JSON.stringify(key.publicPem)}]`;
  await writeFile(config, `[index]\nrepository = "${registry.host}/team/indexes"\n${trusted}\n`);

  const pushed = await index(root.path, name, '--push', '--config', config, '--sign', keyFile);
  assert.match(
    pushed.stdout,
    /^LAYER +SIZE +INDEX\n[0-9a-f]{12} +\d+\.\d MB +[\d.]+ kB \([\d.]+ %\) +made\n[0-9a-f]{12} .* made\n$/,
  );
  const again = await index(root.path, name, '--push', '--config', config, '--json');
  const states = again.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    states.map(({ layer, state }) => ({ layer, state })),
    image.digests.map((layer) => ({ layer, state: 'there' })),
  );
  for (const digest of image.digests) {
    const { bytes } = registry.manifests.get(`team/indexes:${digest.replace(':', '-')}`)!;
    assert.equal(parseArtifact(bytes, digest).layer, digest);
  }

  const verified = await index(root.path, 'verify', name, '--config', config);
  assert.match(verified.stdout, /^([0-9a-f]{12} {2}right, in ".*\/team\/indexes"\n){2}$/, verified.stderr);

  assert.equal((await index(root.path, name, '--output', file)).code, 0);
  const shown = await index(root.path, 'show', file);
  assert.match(shown.stdout, /^layer +sha256:[0-9a-f]{64}, gzip, /);
  assert.match(shown.stdout, /has +6 entries, \d+ chunks, (1 place|\d+ places) to read from/);
  assert.equal((await index(root.path, 'verify', file, '--image', name)).code, 0);

  assert.equal((await index(root.path, name)).code, 0);
  const kept = await index(root.path, 'show', image.digests[0]!.slice(7, 20));
  assert.match(kept.stdout, /from +made here\nsigned +no\nused +yes\n$/);
  assert.match((await index(root.path, 'show', 'ffff')).stderr, /There is no index of the layer "ffff"/);
});

test('lazypull index attaches indexes to an image', async () => {
  await using root = await temporaryRoot();
  await using registry = await startRegistry();
  const image = plainImage([1000, 2000]);
  serveImage(registry, 'app', '1', image);
  const name = `${registry.host}/app:1`;
  for (let i = 0; i < 2; i++) assert.equal((await index(root.path, name, '--attach')).code, 0);
  const list = JSON.parse(registry.manifests.get(`app:${sha256(image.manifest).replace(':', '-')}`)!.bytes.toString());
  assert.equal(list.manifests.length, 2);
  const config = join(root.path, 'config.toml');
  await writeFile(config, '[index]\nreferrers = true\n');
  const verified = await index(root.path, 'verify', name, '--config', config);
  assert.match(verified.stdout, /^(\w+ {2}right, beside the image in "127\.0\.0\.1:\d+\/app"\n){2}$/);
});

test('lazypull index verify reads every place and tells of each', async () => {
  await using root = await temporaryRoot();
  await using registry = await startRegistry();
  const image = plainImage([500_000]);
  serveImage(registry, 'app', '1', image);
  const name = `${registry.host}/app:1`;
  const config = join(root.path, 'config.toml');
  await writeFile(config, `[index]\nrepository = "${registry.host}/team/indexes"\n`);
  assert.equal((await index(root.path, name, '--config', config)).code, 0);
  assert.equal((await index(root.path, name, '--push', '--config', config)).code, 0);
  const verified = await index(root.path, 'verify', name, '--config', config);
  assert.match(verified.stdout, /^\w+ {2}right, here\n\w+ {2}right, in "127\.0\.0\.1:\d+\/team\/indexes"\n$/);
  const [layer = ''] = image.digests;
  const { mediaType, bytes } = registry.manifests.get(`team/indexes:${layer.replace(':', '-')}`)!;
  const { digest } = parseArtifact(bytes, layer);
  registry.blobs.get(digest)![30]! ^= 1;
  registry.manifests.set(`team/indexes:${layer.replace(':', '-')}`, { mediaType, bytes });
  const wrong = await index(root.path, 'verify', name, '--config', config);
  assert.match(wrong.stdout, /^\w+ {2}right, here\n\w+ {2}wrong, in ".*\/team\/indexes": .*\n$/);
  assert.equal(wrong.code, 1);
  await writeFile(
    config,
    `[index]\nrepository = "${registry.host}/team/indexes"\ntrusted_keys = [${JSON.stringify(keyPair().publicPem)}]\n`,
  );
  const unsigned = await index(root.path, 'verify', name, '--config', config);
  assert.match(unsigned.stdout, /wrong, in .*; not used: it is not signed\n$/);
});

test('lazypull index verify finds indexes of another layer, and those that were changed', async () => {
  await using root = await temporaryRoot();
  await using registry = await startRegistry();
  const image = plainImage([500_000, 10]);
  serveImage(registry, 'app', '1', image);
  const name = `${registry.host}/app:1`;
  const config = join(root.path, 'config.toml');
  await writeFile(config, `[index]\nrepository = "${registry.host}/team/indexes"\n`);
  assert.equal((await index(root.path, name, '--push', '--config', config)).code, 0);
  const [first, second] = image.digests.map((digest) => `team/indexes:${digest.replace(':', '-')}`) as [string, string];
  const manifest = registry.manifests.get(first)!;
  registry.manifests.set(first, registry.manifests.get(second)!);
  const other = parseArtifact(registry.manifests.get(second)!.bytes, image.digests[1]!);
  const relabelled = encodeArtifact({ ...other, layer: image.digests[0]! });
  for (const bytes of [registry.manifests.get(second)!.bytes, relabelled]) {
    registry.manifests.set(first, { ...manifest, bytes });
    const found = await index(root.path, 'verify', name, '--config', config, '--json');
    assert.notEqual(found.stdout, '', found.stderr);
    const [row] = found.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.ok(row.state === 'wrong' && found.code === 1, found.stdout);
    assert.match(row.problems.join(), /of another layer/);
  }
});

test('lazypull index says of a layer that can have none why, and ends with 3', async () => {
  await using root = await temporaryRoot();
  await using registry = await startRegistry();
  const image = plainImage([1000]);
  const zstd = zstdCompressSync(buildTar([{ name: 'file', data: Buffer.alloc(65 << 20) }])); // one frame
  const json = JSON.parse(image.manifest.toString());
  json.layers[0] = { ...json.layers[0], digest: registry.addBlob(zstd), size: zstd.length };
  registry.addBlob(image.config);
  registry.addManifest('app', '1', ociManifest, Buffer.from(JSON.stringify(json)));
  const { code, stdout } = await index(root.path, `${registry.host}/app:1`);
  assert.equal(code, 3);
  assert.match(stdout, /No index can be made: .* without a checkpoint/);
  assert.equal((await index(root.path, `${registry.host}/app:1`, '--push', '--output', 'x')).code, 2);
  assert.equal((await index(root.path, `${registry.host}/app:1`, '--push')).code, 1);
  assert.equal((await index(root.path)).code, 2);
});

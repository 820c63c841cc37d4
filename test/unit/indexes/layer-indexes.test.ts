import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { attachIndex } from '../../../src/indexes/index-referrers.ts';
import { encodeArtifact, tagOfLayer } from '../../../src/indexes/artifact.ts';
import type { LayerIndexes } from '../../../src/indexes/layer-indexes.ts';
import { defaultIndexConfig, type IndexConfig, openLayerIndexes } from '../../../src/indexes/open-layer-indexes.ts';
import { type IndexMetrics, indexMetrics } from '../../../src/indexes/metrics.ts';
import { PendingPushes } from '../../../src/indexes/pending-pushes.ts';
import { signIndex } from '../../../src/indexes/signature.ts';
import { RegistryImage } from '../../../src/images/image-access.ts';
import { ociIndex, ociManifest } from '../../../src/images/media-types.ts';
import { MetricsRegistry } from '../../../src/metrics.ts';
import { type Log, silentLog } from '../../../src/log.ts';
import {
  keyPair,
  layerDigest,
  type MadeIndex,
  madeIndex,
  offer,
  quickClient,
  referrerOf,
  sha256,
  temporaryRoot,
} from '../../support/index-lab.ts';
import { startRegistry, type TestRegistry } from '../../support/registry.ts';
import { until } from '../../support/until.ts';

const repository = 'team/indexes';
const layer = layerDigest('a');

interface Machine extends AsyncDisposable {
  readonly root: string;
  readonly registry: TestRegistry;
  readonly indexes: LayerIndexes;
  readonly warnings: string[];
}

/** A machine whose repository of indexes is in `registry`, or in a new one. */
async function machine(
  config: Partial<IndexConfig> = {},
  existing?: TestRegistry,
  metrics?: IndexMetrics,
): Promise<Machine> {
  await using parts = new AsyncDisposableStack();
  const root = parts.use(await temporaryRoot());
  const registry = existing ?? parts.use(await startRegistry());
  const client = parts.use(quickClient());
  const warnings: string[] = [];
  const note = (fields: object, message: string): void => void warnings.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { debug() {}, info() {}, warn: note, error: note };
  const named = { ...defaultIndexConfig, repository: `${registry.host}/${repository}`, ...config };
  const indexes = parts.use(await openLayerIndexes(root.path, named, client, log, metrics));
  const all = parts.move();
  return { root: root.path, registry, indexes, warnings, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** A file with an index, as a pull leaves it. */
async function fileOf(
  root: string,
  { bytes, index }: MadeIndex,
): Promise<{ path: string; size: number; tailBytes: number }> {
  const path = join(root, 'made');
  await writeFile(path, bytes);
  return { path, size: index.size, tailBytes: index.tail.bytes };
}

test('LayerIndexes.find gives what the repository has: two requests, of which one is for the tail', async () => {
  await using lab = await machine();
  const made = madeIndex(layer);
  offer(lab.registry, repository, made);
  const found = await lab.indexes.find(layer);
  assert.ok(found !== undefined);
  assert.deepEqual(found.origin, { kind: 'repository', where: `${lab.registry.host}/${repository}` });
  assert.deepEqual(
    lab.registry.requests.map(({ range }) => range),
    [undefined, 'bytes=4300-4999'],
  );
  assert.deepEqual(await found.range(4400, 5000), made.bytes.subarray(4400));
  assert.equal(lab.registry.requests.length, 2);
  assert.deepEqual(await found.range(100, 200), made.bytes.subarray(100, 200));
  assert.deepEqual(await found.range(4200, 4400), made.bytes.subarray(4200, 4400));
  assert.equal(lab.registry.requests.length, 4);
  assert.equal(found.path, undefined);
  assert.equal(lab.indexes.reasonFor(layer), undefined);
});

test('LayerIndexes.find needs one request for an index with a short tail, and fetches a tail that was changed', async () => {
  await using one = await machine({ push: true });
  const [short, long] = [layerDigest('short'), layerDigest('long')];
  const made = { [short]: madeIndex(short), [long]: madeIndex(long, 3_000_000, 1_200_000) };
  for (const each of [short, long]) await one.indexes.made(each, await fileOf(one.root, made[each]!));
  await one.indexes.pushed();
  for (const [each, requests] of [
    [short, 1],
    [long, 2],
  ] as const) {
    await using two = await machine({}, one.registry);
    one.registry.resetCounts();
    const { size, tail } = made[each]!.index;
    const found = await two.indexes.find(each);
    assert.deepEqual(await found!.range(size - tail.bytes, size), made[each]!.bytes.subarray(-tail.bytes));
    assert.equal(one.registry.requests.length, requests);
  }
  const name = `${repository}:${tagOfLayer(short)}`;
  const { mediaType, bytes } = one.registry.manifests.get(name)!;
  const json = JSON.parse(bytes.toString());
  json.annotations['vnd.lazypull.tail'] = 'AAAA';
  one.registry.manifests.set(name, { mediaType, bytes: Buffer.from(JSON.stringify(json)) });
  await using two = await machine({}, one.registry);
  const found = await two.indexes.find(short);
  assert.deepEqual(await found!.range(4300, 5000), made[short]!.bytes.subarray(4300));
});

test('LayerIndexes.made pushes an index without its tail inside if a registry refuses the larger manifest', async () => {
  await using one = await machine({ push: true });
  one.registry.script({ method: 'PUT', path: /manifests/ }, { kind: 'status', status: 413 });
  const made = madeIndex(layer);
  await one.indexes.made(layer, await fileOf(one.root, made));
  assert.equal(await one.indexes.pushed(), true);
  await using two = await machine({}, one.registry);
  assert.equal((await two.indexes.find(layer))?.digest, made.index.digest);
  assert.deepEqual(one.warnings, []);
});

test('LayerIndexes.pushed ends in time when a registry does not', async () => {
  await using lab = await machine({ push: true });
  lab.registry.gate = () => new Promise(() => undefined);
  await lab.indexes.made(layer, await fileOf(lab.root, madeIndex(layer)));
  assert.equal(await lab.indexes.pushed(50), false);
});

test('LayerIndexes pushes after the next start what waited when it ended, once', async () => {
  await using registry = await startRegistry();
  registry.gate = () => new Promise(() => undefined);
  await using root = await temporaryRoot();
  const names = ['a', 'b', 'c'].map(layerDigest);
  const made = names.map((name) => madeIndex(name));
  await using client = quickClient();
  const config = { ...defaultIndexConfig, repository: `${registry.host}/${repository}`, push: true };
  const live = async (work: (indexes: LayerIndexes) => Promise<unknown>): Promise<void> => {
    await using indexes = await openLayerIndexes(root.path, config, client, silentLog);
    await work(indexes);
  };
  const started = performance.now();
  await live(async (indexes) => {
    for (const [i, name] of names.entries()) await indexes.made(name, await fileOf(root.path, made[i]!));
  });
  assert.ok(performance.now() - started < 20_000, 'a stop does not end');
  const [removed] = names.splice(1, 1);
  registry.gate = () => Promise.resolve();
  await live(async (indexes) => {
    await indexes.store.remove(removed!);
    await indexes.warmUp();
    assert.equal(await indexes.pushed(), true);
  });
  for (const name of names) assert.ok(registry.manifests.has(`${repository}:${tagOfLayer(name)}`));
  assert.ok(!registry.manifests.has(`${repository}:${tagOfLayer(removed!)}`));
  assert.deepEqual(await readdir(join(root.path, 'index-pushes')), []);
  registry.resetCounts();
  await live(async (indexes) => {
    await indexes.warmUp();
    await indexes.pushed();
  });
  for (const name of names) assert.equal(registry.count({ path: new RegExp(tagOfLayer(name)) }), 0);
});

test('PendingPushes.take gives up the oldest if there are too many, and what is half-written', async () => {
  await using root = await temporaryRoot();
  const pending = new PendingPushes(root.path);
  const [old, replacing, recent] = ['a', 'b', 'c'].map(layerDigest) as [string, string, string];
  for (const [i, each] of [old, replacing, recent].entries()) {
    await pending.add({ layer: each, replaces: each === replacing });
    await utimes(join(root.path, 'index-pushes', each.slice('sha256:'.length)), i, i);
  }
  await writeFile(join(root.path, 'index-pushes', 'x.new'), '');
  const expected = [
    { layer: replacing, replaces: true },
    { layer: recent, replaces: false },
  ];
  assert.deepEqual(await pending.take(2), expected);
  assert.equal((await readdir(join(root.path, 'index-pushes'))).length, 2);
});

test('LayerIndexes counts how searches and pushes ended, a layer once', async () => {
  const registry = new MetricsRegistry();
  await using lab = await machine({ push: true }, undefined, indexMetrics(registry));
  const [offered, lying] = [layerDigest('offered'), layerDigest('lying')];
  offer(lab.registry, repository, madeIndex(offered));
  lab.registry.addManifest(repository, tagOfLayer(lying), ociManifest, Buffer.from('{}'));
  for (const each of [layer, offered, lying, layer, offered, lying]) await lab.indexes.find(each);
  await lab.indexes.made(layer, await fileOf(lab.root, madeIndex(layer)));
  await lab.indexes.made(offered, await fileOf(lab.root, madeIndex(offered)));
  await lab.indexes.pushed();
  for (let times = 0; times < 2; times++) {
    lab.indexes.lookAhead([layer]);
    await until(async () => (await registry.text()).includes('{result="here"} 1'));
  }
  lab.registry.options.auth = 'basic';
  await lab.indexes.find(layerDigest('refused'));
  const text = await registry.text();
  for (const result of ['here', 'repository', 'none', 'refused', 'failed'])
    assert.match(text, new RegExp(`^lazypull_index_searches_total\\{result="${result}"\\} 1$`, 'm'));
  for (const result of ['pushed', 'present'])
    assert.match(text, new RegExp(`^lazypull_index_pushes_total\\{result="${result}"\\} 1$`, 'm'));
  assert.match(text, /^lazypull_index_lookup_seconds_count 4$/m);
});

test('FoundIndex.whole keeps all of it, after which nothing is asked for', async () => {
  await using lab = await machine();
  const made = madeIndex(layer);
  offer(lab.registry, repository, made);
  const found = await lab.indexes.find(layer);
  const [path, same] = await Promise.all([found!.whole(), found!.whole()]);
  assert.equal(path, same);
  assert.equal(found!.path, path);
  lab.registry.resetCounts();
  assert.deepEqual(await found!.range(0, 5000), made.bytes);
  const again = await lab.indexes.find(layer);
  assert.equal(again!.path, path);
  assert.deepEqual(again!.origin, found!.origin);
  assert.deepEqual(await again!.range(17, 4999), made.bytes.subarray(17, 4999));
  assert.deepEqual(lab.registry.requests, []);
});

test('FoundIndex.whole refuses bytes that are not those of the digest', async () => {
  await using lab = await machine();
  const made = madeIndex(layer);
  offer(lab.registry, repository, made);
  const found = await lab.indexes.find(layer);
  lab.registry.blobs.get(made.index.digest)![5]! ^= 1;
  await assert.rejects(found!.whole(), { code: 'DataLoss' });
  assert.equal(found!.path, undefined);
  assert.equal(await lab.indexes.findHere(layer), undefined);
});

test('LayerIndexes.lookAhead asks for all layers at once, and find takes its answers', async () => {
  await using lab = await machine();
  const layers = Array.from({ length: 10 }, (_, i) => layerDigest(`layer ${i}`));
  for (const each of layers) offer(lab.registry, repository, madeIndex(each));
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  lab.registry.gate = () => gate;
  lab.indexes.lookAhead(layers);
  await until(() => lab.registry.requests.length >= layers.length);
  open();
  const found = await Promise.all(layers.map((each) => lab.indexes.find(each)));
  assert.ok(found.every((each) => each !== undefined));
  assert.equal(lab.registry.requests.length, 2 * layers.length);
});

test('LayerIndexes.find remembers that there is none', async () => {
  await using lab = await machine();
  assert.equal(await lab.indexes.find(layer), undefined);
  assert.equal(await lab.indexes.find(layer), undefined);
  assert.equal(lab.registry.requests.length, 1);
  assert.match(lab.indexes.reasonFor(layer) ?? '', /^there is no layer index: ".*\/team\/indexes" has none$/);
  assert.deepEqual(lab.warnings, []);
});

test('LayerIndexes.find does not wait for a repository that does not answer, and takes the answer later', async () => {
  await using lab = await machine({ lookup_timeout_msec: 20 });
  offer(lab.registry, repository, madeIndex(layer));
  for (const name of ['b', 'c']) await lab.indexes.find(layerDigest(name)); // now it is known how long an answer takes
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  lab.registry.gate = () => gate;
  assert.equal(await lab.indexes.find(layer), undefined);
  assert.match(lab.indexes.reasonFor(layer) ?? '', /did not answer in time/);
  open();
  for (;;) {
    if ((await lab.indexes.find(layer)) !== undefined) break;
    await sleep(5);
  }
  assert.equal(lab.registry.count({ path: new RegExp(tagOfLayer(layer)) }), 1);
});

test('LayerIndexes.find waits no round trip for a repository that has not answered for a while', async () => {
  await using registry = await startRegistry();
  registry.gate = () => new Promise(() => undefined);
  await using waiting = await machine({ lookup_timeout_msec: 0 }, registry);
  await using fresh = await machine({ lookup_timeout_msec: 0 }, registry);
  await waiting.indexes.find(layer);
  await sleep(500);
  const searches = [fresh, waiting].map((each) => each.indexes.find(layerDigest('b')).then(() => each));
  assert.equal(await Promise.race(searches), waiting);
});

test('LayerIndexes.find waits for a repository that has never answered from the first question on', async () => {
  await using registry = await startRegistry();
  registry.gate = () => new Promise(() => undefined);
  await using warm = await machine({ lookup_timeout_msec: 0 }, registry);
  await using fresh = await machine({ lookup_timeout_msec: 0 }, registry);
  void warm.indexes.warmUp();
  await sleep(400);
  const searches = [fresh, warm].map((each) => each.indexes.find(layer).then(() => each));
  assert.equal(await Promise.race(searches), warm);
});

test('LayerIndexes.find waits for the tail of an index that is there', async () => {
  await using lab = await machine({ lookup_timeout_msec: 600 });
  offer(lab.registry, repository, madeIndex(layer));
  await lab.indexes.find(layerDigest('b'));
  lab.registry.script({ path: /blobs/ }, { kind: 'delay', ms: 1500 });
  assert.notEqual(await lab.indexes.find(layer), undefined);
});

test('LayerIndexes.find asks a repository that fails no more for a while, and says so once', async () => {
  await using lab = await machine();
  lab.registry.options.auth = 'basic';
  for (const name of ['a', 'b', 'c']) assert.equal(await lab.indexes.find(layerDigest(name)), undefined);
  assert.equal(lab.warnings.length, 1);
  assert.match(lab.warnings[0]!, /Cannot look up indexes of layers.*401/);
  assert.match(lab.indexes.reasonFor(layerDigest('c')) ?? '', /cannot be asked: .*401/);
  assert.equal(lab.registry.count({ path: /manifests/ }), 1);
});

test('LayerIndexes.find refuses what lies', async () => {
  await using lab = await machine();
  const other = madeIndex(layerDigest('other'));
  const cases: Record<string, () => void> = {
    'of another layer': () => {
      lab.registry.addBlob(other.bytes);
      lab.registry.addManifest(repository, tagOfLayer(layer), ociManifest, encodeArtifact(other.index));
    },
    'tail is not the one': () => {
      offer(lab.registry, repository, madeIndex(layer), (index) => ({
        ...index,
        tail: { ...index.tail, digest: layer },
      }));
    },
    'flipped bit': () => {
      const made = madeIndex(layer);
      offer(lab.registry, repository, made);
      lab.registry.blobs.get(made.index.digest)![4990]! ^= 1;
    },
    truncated: () => {
      const made = madeIndex(layer);
      offer(lab.registry, repository, made);
      lab.registry.blobs.set(made.index.digest, made.bytes.subarray(0, 4999));
    },
    'no manifest': () => void lab.registry.addManifest(repository, tagOfLayer(layer), ociManifest, Buffer.from('{}')),
  };
  for (const [name, make] of Object.entries(cases)) {
    await using fresh = await machine({}, lab.registry);
    make();
    assert.equal(await fresh.indexes.find(layer), undefined, name);
    assert.equal(fresh.warnings.length, 1, name);
    assert.match(fresh.indexes.reasonFor(layer) ?? '', /^there is no layer index: /, name);
  }
});

test('LayerIndexes.find uses only signed indexes if there are trusted keys', async () => {
  const [mine, other] = [keyPair(), keyPair()];
  await using registry = await startRegistry();
  const names = ['unsigned', 'mine', 'other'];
  for (const [i, key] of [undefined, mine, other].entries()) {
    const made = madeIndex(layerDigest(names[i]!));
    const signature = key && signIndex(made.index, key.privateKey);
    offer(registry, repository, made, (index) => ({ ...index, signature }));
  }
  await using lab = await machine({ trusted_keys: [mine.publicPem] }, registry);
  const found = await Promise.all(names.map((name) => lab.indexes.find(layerDigest(name))));
  assert.deepEqual(
    found.map((each) => each !== undefined),
    [false, true, false],
  );
  assert.equal(typeof found[1]!.signedBy, 'string');
  assert.match(lab.indexes.reasonFor(layerDigest('unsigned')) ?? '', /is not signed/);
  assert.match(lab.indexes.reasonFor(layerDigest('other')) ?? '', /is signed by key [0-9a-f]{16}, which is not one of/);
});

test('LayerIndexes.findHere decides again whether what is kept is trusted', async () => {
  await using registry = await startRegistry();
  await using client = quickClient();
  await using root = await temporaryRoot();
  const open = (config: Partial<IndexConfig>) =>
    openLayerIndexes(root.path, { ...defaultIndexConfig, ...config }, client, {
      debug() {},
      info() {},
      warn() {},
      error() {},
    });
  const made = madeIndex(layerDigest('made'));
  offer(registry, repository, madeIndex(layer));
  {
    await using before = await open({ repository: `${registry.host}/${repository}` });
    await (await before.find(layer))!.whole();
    await before.made(layerDigest('made'), await fileOf(root.path, made));
  }
  for (const config of [{ repository: `${registry.host}/other` }, { trusted_keys: [keyPair().publicPem] }]) {
    await using later = await open(config);
    assert.equal(await later.findHere(layer), undefined);
    assert.match(later.reasonFor(layer) ?? '', /the layer index that is kept here is not used: it /);
    assert.deepEqual((await later.findHere(layerDigest('made')))?.origin, { kind: 'made', where: '' });
  }
});

test('LayerIndexes.made keeps an index and pushes it for others', async () => {
  const key = keyPair();
  await using registry = await startRegistry();
  await using root = await temporaryRoot();
  const keyFile = join(root.path, 'key.pem');
  await writeFile(keyFile, key.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await using one = await machine({ push: true, signing_key: keyFile }, registry);
  await using two = await machine({ trusted_keys: [key.publicPem] }, registry);
  const made = madeIndex(layer);
  assert.equal(await one.indexes.find(layer), undefined);
  const own = await one.indexes.made(layer, await fileOf(one.root, made));
  assert.deepEqual(await own.range(0, 5000), made.bytes);
  await one.indexes.pushed();
  const found = await two.indexes.find(layer);
  assert.equal(found?.digest, made.index.digest);
  await found!.whole();
  assert.equal((await two.indexes.findHere(layer))?.digest, made.index.digest);
  assert.deepEqual([...one.warnings, ...two.warnings], []);
});

test('LayerIndexes.made pushes over what was refused, and over nothing else', async () => {
  await using lab = await machine({ push: true });
  const [good, bad] = [layerDigest('good'), layerDigest('bad')];
  const [first, wrong] = [madeIndex(good), madeIndex(bad)];
  offer(lab.registry, repository, first);
  offer(lab.registry, repository, wrong);
  const found = await lab.indexes.find(bad);
  found!.poison('is wrong: its chunks are not those of the layer');
  assert.equal(await lab.indexes.find(bad), undefined);
  assert.match(lab.indexes.reasonFor(bad) ?? '', /is wrong: its chunks are not those of the layer/);
  for (const each of [good, bad]) await lab.indexes.made(each, await fileOf(lab.root, madeIndex(each)));
  await lab.indexes.pushed();
  await using other = await machine({}, lab.registry);
  assert.equal((await other.indexes.find(good))?.digest, first.index.digest);
  assert.notEqual((await other.indexes.find(bad))?.digest, wrong.index.digest);
});

test('LayerIndexes.made leaves an index in the repository that only this machine does not trust', async () => {
  await using lab = await machine({ push: true, trusted_keys: [keyPair().publicPem] });
  const others = madeIndex(layer);
  offer(lab.registry, repository, others);
  assert.equal(await lab.indexes.find(layer), undefined);
  await lab.indexes.made(layer, await fileOf(lab.root, madeIndex(layer)));
  await lab.indexes.pushed();
  await using other = await machine({}, lab.registry);
  assert.equal((await other.indexes.find(layer))?.digest, others.index.digest);
});

test('FoundIndex.poison removes what is kept', async () => {
  await using lab = await machine();
  const found = await lab.indexes.made(layer, await fileOf(lab.root, madeIndex(layer)));
  found.poison('lies');
  assert.equal(await lab.indexes.findHere(layer), undefined);
  for (;;) {
    const isThere = await stat(found.path!).then(
      () => true,
      () => false,
    );
    if (!isThere) break;
    await sleep(5);
  }
});

test('LayerIndexes.find reads what is attached to an image, if that is allowed', async () => {
  await using registry = await startRegistry();
  const digestOfImage = sha256(randomBytes(10));
  const made = madeIndex(layer);
  registry.addBlob(made.bytes);
  const manifest = encodeArtifact(made.index, { mediaType: ociManifest, digest: digestOfImage, size: 10 });
  const digest = registry.addManifest('app', undefined, ociManifest, manifest);
  const list = { schemaVersion: 2, mediaType: ociIndex, manifests: [referrerOf(digest, manifest.length, layer)] };
  registry.addManifest('app', digestOfImage.replace(':', '-'), ociIndex, Buffer.from(JSON.stringify(list)));
  await using client = quickClient();
  const image = new RegistryImage(client, `${registry.host}/app:1@${digestOfImage}`);
  await using off = await machine({ repository: '' }, registry);
  assert.equal(await off.indexes.find(layer, image), undefined);
  assert.equal(registry.requests.length, 0);
  await using lab = await machine({ referrers: true }, registry);
  assert.deepEqual((await lab.indexes.find(layer, image))?.origin, {
    kind: 'referrer',
    where: `${registry.host}/app`,
  });
  assert.equal(await lab.indexes.find(layerDigest('b'), image), undefined);
  assert.equal(registry.count({ path: /referrers/ }), 1);
  assert.equal(
    await lab.indexes.find(layerDigest('c'), new RegistryImage(client, `${registry.host}/app:1`)),
    undefined,
  );
});

for (const filters of [true, false]) {
  test(`LayerIndexes.find reads all pages of what is attached to an image, ${filters ? '' : 'not '}filtered`, async () => {
    await using registry = await startRegistry({ referrers: { pageEntries: 2, filters } });
    await using client = quickClient();
    const subject = { mediaType: ociManifest, digest: sha256(randomBytes(10)), size: 10 };
    const layers = Array.from({ length: 5 }, (_, i) => layerDigest(`attached ${i}`));
    for (const each of layers) {
      const { bytes, index } = madeIndex(each);
      const image = { host: registry.host, repository: 'app' };
      await attachIndex(client, image, subject, index, () => Readable.from([bytes]));
      const other = { ...JSON.parse(encodeArtifact(index, subject).toString()), artifactType: 'application/other' };
      registry.addManifest('app', undefined, ociManifest, Buffer.from(JSON.stringify(other)));
    }
    assert.equal(registry.count({ method: 'PUT', path: /manifests\/sha256-/ }), 0, 'the registry keeps the list');
    await using lab = await machine({ repository: '', referrers: true }, registry);
    registry.resetCounts();
    const attached = new RegistryImage(client, `${registry.host}/app:1@${subject.digest}`);
    for (const each of layers) {
      const found = await lab.indexes.find(each, attached);
      assert.equal(found?.origin.kind, 'referrer');
    }
    assert.equal(registry.count({ path: /referrers/ }), filters ? 3 : 5);
  });
}

test('LayerIndexes.find asks for manifests if a registry lists what is attached without annotations', async () => {
  await using registry = await startRegistry({ referrers: { pageEntries: 10, filters: true, annotates: false } });
  await using client = quickClient();
  const subject = { mediaType: ociManifest, digest: sha256(randomBytes(10)), size: 10 };
  for (const name of ['a', 'b']) {
    const { bytes, index } = madeIndex(layerDigest(name));
    const image = { host: registry.host, repository: 'app' };
    await attachIndex(client, image, subject, index, () => Readable.from([bytes]));
  }
  await using lab = await machine({ repository: '', referrers: true }, registry);
  const image = new RegistryImage(client, `${registry.host}/app:1@${subject.digest}`);
  assert.equal((await lab.indexes.find(layerDigest('b'), image))?.origin.kind, 'referrer');
  assert.equal(await lab.indexes.find(layerDigest('c'), image), undefined);
});

test('openLayerIndexes names the key of the configuration that cannot be used', async () => {
  await using root = await temporaryRoot();
  await using client = quickClient();
  const wrong: [Partial<IndexConfig>, RegExp][] = [
    [{ repository: 'Registry/UPPER' }, /"index\.repository"/],
    [{ repository: 'registry.example/a:1' }, /"index\.repository".*it has a tag or a digest/],
    [{ push: true }, /"index\.push": there is no "index\.repository"/],
    [{ trusted_keys: ['x'] }, /"index\.trusted_keys".*is not an Ed25519 key/],
    [{ push: true, repository: 'registry.example/a', signing_key: '/not/there' }, /"index\.signing_key"/],
  ];
  for (const [config, message] of wrong) {
    const opening = openLayerIndexes(root.path, { ...defaultIndexConfig, ...config }, client, {
      debug() {},
      info() {},
      warn() {},
      error() {},
    });
    await assert.rejects(opening, (error: Error) =>
      message.test(`${error.message}: ${String((error.cause as Error)?.message)}`),
    );
  }
});

test('LayerIndexes[Symbol.asyncDispose] ends lookups that are under way', async () => {
  await using registry = await startRegistry();
  const made = madeIndex(layer);
  offer(registry, repository, made);
  {
    await using lab = await machine({ lookup_timeout_msec: 0 }, registry);
    registry.script({ path: /blobs/ }, { kind: 'stall', after: 10 });
    lab.indexes.lookAhead([layer]);
    await until(() => registry.count({ path: /blobs/ }) > 0);
    await lab.indexes.find(layerDigest('b'));
  }
  registry.gate = () => new Promise(() => undefined);
  await using lab = await machine({ lookup_timeout_msec: 0 }, registry);
  void lab.indexes.warmUp();
  lab.indexes.lookAhead([layer]);
  await until(() => registry.count({ path: /manifests/ }) >= 4);
});

test('LayerIndexes[Symbol.asyncDispose] ends the request for all of an index, and does not ask again', async () => {
  await using registry = await startRegistry();
  offer(registry, repository, madeIndex(layer));
  {
    await using lab = await machine({}, registry);
    await lab.indexes.find(layer);
    registry.resetCounts();
    registry.script({ path: /blobs/ }, ...Array(4).fill({ kind: 'stall', after: 10 }));
    await until(() => registry.count({ path: /blobs/ }) > 0);
  }
  assert.equal(registry.count({ path: /blobs/ }), 1);
});

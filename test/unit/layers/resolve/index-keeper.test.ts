import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { FoundIndex } from '../../../../src/indexes/found-index.ts';
import { defaultIndexConfig, openLayerIndexes } from '../../../../src/indexes/open-layer-indexes.ts';
import { IndexKeeper } from '../../../../src/layers/resolve/index-keeper.ts';
import { LayerDirectory } from '../../../../src/layers/store/layer-directory.ts';
import { UnkeptIndex } from '../../../../src/layers/store/unkept-index.ts';
import { silentLog } from '../../../../src/log.ts';
import { quickClient, temporaryRoot } from '../../../support/index-lab.ts';
import { pullBlob } from '../../../support/pulled-layer.ts';
import { buildTar } from '../../../support/tar-builder.ts';

const pulls = { quiet: () => Promise.resolve() };

/** A layer that was pulled, as a daemon leaves it that is killed before it has kept the index. */
async function killed(root: string) {
  const pulled = await pullBlob(root, gzipSync(buildTar([{ name: 'file', data: Buffer.alloc(5000, 'content') }])));
  const { index, target } = pulled;
  assert.ok('bytes' in index);
  const directory = new LayerDirectory(join(target.indexPath!, '..'));
  await new UnkeptIndex(directory).note(index);
  return { digest: target.digest, directory, index };
}

async function setUp() {
  await using parts = new AsyncDisposableStack();
  const root = parts.use(await temporaryRoot()).path;
  const indexes = parts.use(await openLayerIndexes(root, defaultIndexConfig, parts.use(quickClient()), silentLog));
  const all = parts.move();
  /** Starts a life, keeps what is left, and ends it. */
  const live = async (digest: string, directory: LayerDirectory): Promise<FoundIndex | undefined> => {
    const keeper = new IndexKeeper({ indexes, pulls, log: silentLog });
    keeper.keepLeft(digest, directory);
    await keeper.idle();
    await keeper[Symbol.asyncDispose]();
    return indexes.findHere(digest);
  };
  return { root, indexes, live, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

test('IndexKeeper keeps the index that a killed daemon left beside its layer, once', async () => {
  await using lab = await setUp();
  const { digest, directory, index } = await killed(lab.root);
  const found = await lab.live(digest, directory);
  assert.deepEqual([found?.digest, found?.origin.kind], [index.digest, 'made']);
  await lab.indexes.store.remove(digest);
  assert.equal(await lab.live(digest, directory), undefined, 'what was removed from the store comes back');
});

test('IndexKeeper keeps no index that a power cut has damaged, or that came from elsewhere', async () => {
  await using lab = await setUp();
  const damaged = await killed(lab.root);
  await appendFile(damaged.directory.indexPath, 'x');
  assert.equal(await lab.live(damaged.digest, damaged.directory), undefined);
  assert.equal(await new UnkeptIndex(damaged.directory).read(), undefined);
  const other = new LayerDirectory(join(lab.root, 'other'));
  await mkdir(other.path);
  await writeFile(other.indexPath, 'an index of a repository');
  assert.equal(await lab.live(`sha256:${hash('sha256', 'other')}`, other), undefined);
});

test('IndexKeeper.keep keeps the index of a layer that is removed at once', async () => {
  await using lab = await setUp();
  const { digest, directory, index } = await killed(lab.root);
  const keeper = new IndexKeeper({ indexes: lab.indexes, pulls, log: silentLog });
  await keeper.keep(digest, directory, index.bytes);
  await rm(directory.path, { recursive: true });
  await keeper[Symbol.asyncDispose]();
  assert.equal((await lab.indexes.findHere(digest))?.digest, index.digest);
});

test('UnkeptIndex.read takes a damaged file for none', async () => {
  await using lab = await setUp();
  const { directory } = await killed(lab.root);
  for (const text of ['', '{"digest":', 'null', '{"digest":"x"}']) {
    await writeFile(join(directory.path, 'index.json'), text);
    assert.equal(await new UnkeptIndex(directory).read(), undefined);
  }
});

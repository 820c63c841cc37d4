import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { IndexStore } from '../../../src/indexes/index-store.ts';
import { silentLog } from '../../../src/log.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import { type ImageLayer, SnapshotsClient } from '../../support/snapshots-client.ts';
import { buildTar } from '../../support/tar-builder.ts';
import { repository } from '../../support/tools.ts';
import { assertSameTree, describeTar, describeTree, withoutRoot } from '../../support/tree.ts';
import { until } from '../../support/until.ts';

/** Some tens of MB: several spans. */
const sample = ['etc/ssl', 'usr/sbin', 'usr/bin', 'usr/share/perl5'];
const above = ['--no-recursion', 'etc', 'usr', 'usr/share', '--recursion'];

let lab: LayerLab;
let blob: Buffer;
let layer: ImageLayer;
let expected: string[];

before(async () => {
  lab = await LayerLab.open('no_background_fetch = true\nnoprefetch = true\n');
  const tar = join(lab.workspace.path, 'sample.tar');
  const flags = ['--numeric-owner', '--sort=name', '--format=pax', '--ignore-failed-read', '--hard-dereference'];
  await run('tar', [...flags, '-C', '/', '-cf', tar, ...above, ...sample]);
  expected = withoutRoot(await describeTar(tar, lab.workspace.path));
  await run('gzip', ['-1', tar]);
  blob = await readFile(`${tar}.gz`);
  layer = { digest: lab.registry.addBlob(blob), annotations: {} };
});
after(() => lab[Symbol.asyncDispose]());

test('A Prepare that its client gives up ends the pull, and leaves nothing', async () => {
  lab.registry.script(
    { method: 'GET', path: new RegExp(layer.digest) },
    ...Array(8).fill({ kind: 'stall', after: 5000 }),
  );
  using client = new SnapshotsClient(lab.socket);
  await assert.rejects(client.prepareLayer('given-up', '', lab.reference, layer, [layer.digest], 3000), {
    code: status.DEADLINE_EXCEEDED,
  });
  lab.registry.forgetFaults();
  const left = async (path: string): Promise<string[]> => readdir(join(lab.root, path)).catch(() => []);
  await until(async () => (await left('pulls')).length === 0, 'the pull goes on');
  assert.deepEqual(await left(join('layers', layer.digest.slice('sha256:'.length))), []);
  assert.ok(lab.registry.requests.some(({ path, aborted }) => path.includes(layer.digest) && aborted));
});

test('A layer without an index is pulled once, and is lazy after its cache is gone', async () => {
  const first = await lab.prepare([layer]);
  assert.match(howOf('prepared remote snapshot'), /^pulled here in .*index made$/);
  assert.ok(bytesOfBlob() >= blob.length, 'all of it was fetched');
  assertSameTree(await treeOf(first), expected);
  await forget(first);

  const before = bytesOfBlob();
  const second = await lab.prepare([layer]);
  assert.match(howOf('prepared remote snapshot'), /^by an index made here$/);
  const root = await lab.mount(second);
  await readFile(await someFile(root));
  const fetched = bytesOfBlob() - before;
  assert.ok(fetched > 0 && fetched < blob.length / 2, `fetched ${fetched} of ${blob.length} bytes`);
  assertSameTree(withoutRoot(await describeTree(root)), expected);
  await lab.unmount(root);
  await lab.remove(second, 1);
});

test('A layer that is removed right after its pull leaves its index, while another one is pulled', async () => {
  const [own, slow] = ['own', 'slow'].map((name) => {
    const tar = buildTar([{ name, data: Buffer.from(randomBytes(1 << 20).toString('hex')) }]);
    return { digest: lab.registry.addBlob(gzipSync(tar, { level: 1 })), annotations: {} };
  });
  const path = new RegExp(slow!.digest);
  lab.registry.script({ method: 'GET', path }, ...Array(8).fill({ kind: 'drip', bytes: 20_000, everyMs: 50 }));
  const slowly = lab.prepare([slow!]);
  await until(() => lab.registry.requests.some((request) => path.test(request.path)));
  await forget(await lab.prepare([own!]));
  lab.registry.forgetFaults();
  await forget(await slowly);
  await lab.restart('SIGTERM'); // which has kept all indexes
  await forget(await lab.prepare([own!]));
  assert.match(howOf('prepared remote snapshot'), /^by an index made here$/);
});

test('A layer that is read by an index goes on after the daemon was killed', async () => {
  await run(join(repository, 'bin', 'lazypull'), ['cache', 'prune', '--address', lab.socket]);
  const snapshot = await lab.prepare([layer]);
  const root = await lab.mount(snapshot);
  await readFile(await someFile(root));
  await lab.crash();
  assertSameTree(withoutRoot(await describeTree(root)), expected);
  await lab.unmount(root);
  await forget(snapshot);
});

test('A layer whose index has a wrong window gives errors and no wrong byte, and is pulled the next time', async () => {
  const store = new IndexStore(lab.root, 0, silentLog);
  const { size, tail, origin } = (await store.find(layer.digest))!;
  const index = (await readFile(join(lab.root, 'indexes', layer.digest.slice('sha256:'.length)))).subarray(0, size);
  index.fill(0x55, 100, 1000); // windows lie at the start
  await store.keep({ layer: layer.digest, tail, origin }, [index]);
  const snapshot = await lab.prepare([layer]);
  assert.match(howOf('prepared remote snapshot'), /^by an index/);
  const root = await lab.mount(snapshot);
  await assert.rejects(run('sh', ['-c', `find ${root} -type f -print0 | xargs -0 cat > /dev/null`]));
  await lab.unmount(root);
  await forget(snapshot);
  const again = await lab.prepare([layer]);
  assert.match(howOf('prepared remote snapshot'), /^pulled here in /);
  assertSameTree(await treeOf(again), expected);
  await lab.remove(again, 1);
});

async function treeOf(snapshot: string): Promise<string[]> {
  const root = await lab.mount(snapshot);
  const tree = withoutRoot(await describeTree(root));
  await lab.unmount(root);
  return tree;
}

/** A file in the middle of the layer. */
async function someFile(root: string): Promise<string> {
  const names = (await run('find', [join(root, 'usr/sbin'), '-type', 'f', '-size', '+4k'])).trim().split('\n');
  return names.toSorted()[Math.floor(names.length / 2)]!;
}

/** Removes a snapshot and what is kept of its layer, but for the index. */
async function forget(snapshot: string): Promise<void> {
  await lab.remove(snapshot, 1);
  await run(join(repository, 'bin', 'lazypull'), ['cache', 'prune', '--address', lab.socket]);
}

function howOf(message: string): string {
  const lines = lab.daemon.log().filter(({ msg }) => msg === message);
  return String(lines.at(-1)?.['how']);
}

function bytesOfBlob(): number {
  return lab.registry.requests
    .filter(({ path }) => path.includes(layer.digest))
    .reduce((sum, { bytes }) => sum + bytes, 0);
}

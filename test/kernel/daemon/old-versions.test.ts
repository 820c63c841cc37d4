import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { installOld } from '../../support/old-version.ts';
import { run } from '../../support/program.ts';
import { until } from '../../support/until.ts';
import { mountsBelow, Workspace } from '../../support/workspace.ts';

/** Another commit can be tried: `LAZYPULL_OLD_VERSION=COMMIT`. */
const commit = process.env['LAZYPULL_OLD_VERSION'];
const old = commit ?? '0.1.0';

let workspace: Workspace;

before(async () => {
  workspace = await Workspace.open('lp-old');
  await installOld(workspace.path, commit);
});
after(() => workspace[Symbol.asyncDispose]());

const layers = [0, 1].map((layer) =>
  Array.from(
    { length: 4 },
    (_, i): FileSpec => ({ path: `layer-${layer}/file-${i}`, type: 'reg', content: randomBytes(2 << 20) }),
  ),
);
const files = layers.flat();

type Succeed = (lab: LayerLab) => Promise<void>;

const successions: Readonly<Record<string, Succeed>> = {
  'takes over from': async (lab) => (await lab.takeOver()).ready,
  'is started after a kill of': (lab) => lab.restart('SIGKILL'),
};

for (const [how, succeed] of Object.entries(successions)) {
  test(`This version ${how} ${old} while layers are read`, async () => {
    await using lab = await LayerLab.open('', undefined, workspace.path);
    const image = await lab.prepare(layers.map((each) => lab.layer(estargzBlob(each, 1 << 20))));
    const mounted = await lab.mount(image);
    const check = async (root: string, { path, content }: FileSpec) =>
      assert.ok((await readFile(join(root, path))).equals(content!), `${path} has other bytes`);
    await check(mounted, files[0]!);
    lab.registry.script({ path: /blobs/ }, { kind: 'delay', ms: 3000 }, { kind: 'delay', ms: 3000 });
    const reading = Promise.all([1, 5].map((file) => check(mounted, files[file]!)));
    await succeed(lab);
    await reading;
    for (const file of files) await check(mounted, file);
    await checkTrees(lab);

    const again = await lab.mount(image);
    for (const file of files) await check(again, file);
    await lab.dropCaches();
    for (const file of files) await check(mounted, file);
    await lab.restart('SIGKILL');
    await lab.dropCaches();
    for (const root of [mounted, again]) for (const file of files) await check(root, file);
    await lab.unmount(again);
    await lab.unmount(mounted);
  });
}

test(`This version is started after ${old} was stopped`, async () => {
  await using lab = await LayerLab.open('', undefined, workspace.path);
  const image = await lab.prepare(layers.map((each) => lab.layer(estargzBlob(each, 1 << 20))));
  await lab.restart('SIGTERM');
  const fetched = lab.registry.requests.length;
  await checkTrees(lab);
  assert.equal(lab.registry.requests.length, fetched, 'the layers were indexed again');
  const mounted = await lab.mount(image);
  for (const { path, content } of files) assert.ok((await readFile(join(mounted, path))).equals(content!));
  await lab.unmount(mounted);
});

/** A layer that is unmounted is no empty directory, and is mounted again. */
async function checkTrees(lab: LayerLab): Promise<void> {
  const snapshots = join(lab.root, 'snapshotter', 'snapshots');
  const points = (await mountsBelow(snapshots)).toSorted();
  const expected = (await readdir(snapshots)).map((id) => join(snapshots, id)).filter((path) => points.includes(path));
  assert.deepEqual(points, expected);
  assert.equal(points.length, layers.length);
  for (const point of points) {
    process.kill(lab.pid, 'SIGSTOP');
    try {
      await run('umount', ['-l', point]);
      await assert.rejects(access(join(point, 'fs')), { code: 'ENOENT' });
    } finally {
      process.kill(lab.pid, 'SIGCONT');
    }
    await until(async () => (await mountsBelow(point)).length === 1);
  }
}

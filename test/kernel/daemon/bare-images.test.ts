import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { access, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { crc32c } from '../../../src/fronts/erofs/crc32c.ts';
import type { LayerRecord } from '../../../src/layers/store/layer-directory.ts';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import { mountsBelow } from '../../support/workspace.ts';

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
after(() => lab[Symbol.asyncDispose]());

/**
 * Where the superblock is, and its checksum and root; and the third name in the root directory, which is that of the
 * tree.
 */
const superblockAt = 1024;
const checksumAt = superblockAt + 4;
const rootAt = superblockAt + 14;
const treeAt = superblockAt + 128 + 64 + 2 * 12;

/** Makes of a layer's files what versions wrote whose images had the layer's tree as their root. */
async function makeBare(directory: string): Promise<void> {
  const { boot, record } = JSON.parse(await readFile(join(directory, 'layer.json'), 'utf8')) as {
    boot: string;
    record: LayerRecord;
  };
  const disk = await readFile(join(directory, 'disk'));
  disk.writeUInt16LE(disk.readUInt16LE(treeAt), rootAt);
  disk.writeUInt32LE(0, checksumAt);
  disk.writeUInt32LE(crc32c(disk.subarray(superblockAt, 4096)), checksumAt);
  await writeFile(join(directory, 'disk'), disk);
  const { version: _, indexDigest, format: __, chunks, sums, ...same } = record;
  const metadata = hash('sha256', disk.subarray(0, record.metadataBytes));
  const old = { ...same, version: 5, tocDigest: indexDigest, rows: chunks, sums: { ...sums, metadata } };
  const sum = hash('sha256', `${boot}\n${JSON.stringify(old)}`);
  await writeFile(join(directory, 'layer.json'), JSON.stringify({ boot, sum, record: old }));
}

/** A layer as an old version left it, on its path of the tree, with a view of it, and the daemon ended by `signal`. */
async function leftBare(content: Buffer) {
  const layer = lab.layer(
    estargzBlob(
      [
        { path: 'file', type: 'reg', content },
        { path: 'fs/other', type: 'reg', content: Buffer.from('not the tree') },
      ],
      1 << 20,
    ),
  );
  const snapshot = await lab.prepare([layer]);
  await lab.daemon.program.stop('SIGTERM');
  await makeBare(lab.layerDirectory(layer));
  const snapshots = join(lab.root, 'snapshotter', 'snapshots');
  const id = (await readdir(snapshots)).map(Number).sort((a, b) => b - a)[0]!;
  return { layer, snapshot, point: join(snapshots, String(id)), tree: join(snapshots, String(id), 'fs') };
}

test('A layer whose image has the tree as its root gets an image that holds it in a directory, so that there is none without the mount', async () => {
  const content = randomBytes(100_000);
  const { snapshot, point, tree } = await leftBare(content);
  await lab.restart('SIGTERM');
  const check = async (): Promise<void> => {
    const root = await lab.mount(snapshot);
    assert.ok((await readFile(join(root, 'file'))).equals(content));
    assert.deepEqual(await readdir(root), ['file', 'fs']);
    await lab.unmount(root);
    assert.deepEqual(await mountsBelow(point), [point]);
  };
  await check();
  await lab.daemon.program.stop('SIGKILL');
  await run('umount', ['-l', point]);
  await assert.rejects(access(tree), { code: 'ENOENT' });
  await lab.restart('SIGKILL');
  await check();
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  await lab.restart('SIGKILL');
  await check();
  const line = mounts.split('\n').find((each) => each.includes(` ${point} `));
  assert.ok((await readFile('/proc/self/mountinfo', 'utf8')).includes(line!), 'it is another mount');
});

test('wrapImage that was cut short before the record was written is done again', async () => {
  const content = randomBytes(50_000);
  const { layer, snapshot } = await leftBare(content);
  const record = await readFile(join(lab.layerDirectory(layer), 'layer.json'));
  await lab.restart('SIGTERM');
  await lab.daemon.program.stop('SIGTERM');
  await writeFile(join(lab.layerDirectory(layer), 'layer.json'), record);
  const requests = lab.registry.requests.length;
  await lab.restart('SIGTERM');
  assert.equal(lab.registry.requests.length, requests);
  const root = await lab.mount(snapshot);
  assert.ok((await readFile(join(root, 'file'))).equals(content));
  await lab.unmount(root);
});

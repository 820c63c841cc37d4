import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { checkFiles, checkKeptFiles } from '../../support/layer-files.ts';
import { LayerLab, mountDisk } from '../../support/layer-lab.ts';
import { tryRun } from '../../support/program.ts';

const mib = 1 << 20;

const noiseFiles = (count: number, bytes: number) =>
  Array.from({ length: count }, (_, i): FileSpec & { content: Buffer } => ({
    path: `file-${i}`,
    type: 'reg',
    content: randomBytes(bytes),
  }));

test('On a disk that is full every read is answered, and when there is space again the layer is kept', async () => {
  await using lab = await LayerLab.open('no_background_fetch = true', (root) => mountDisk(root, 64 * mib));
  const ballast = join(lab.root, 'ballast');
  const files = [
    ...noiseFiles(60, 200_000),
    ...noiseFiles(5, 5 * mib).map((file, i) => ({ ...file, path: `large-${i}` })),
  ];
  const layer = lab.layer(estargzBlob(files, 2 * mib));
  const snapshot = await lab.prepare([layer]);
  const root = await lab.mount(snapshot);
  await checkFiles(files.slice(0, 10), root);

  await tryRun('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k', 'status=none']);
  assert.ok((await statfs(lab.root)).bavail < 100);
  for (let pass = 0; pass < 2; pass++) {
    await Promise.all([checkFiles(files, root), checkFiles(files.toReversed(), root)]);
    await lab.dropCaches();
  }
  assert.ok(lab.complaints.some(({ error }) => String(error).includes('ENOSPC')));
  assert.deepEqual(
    lab.complaints.filter(({ level }) => level === 'error'),
    [],
  );

  await rm(ballast);
  await checkFiles(files, root);
  await lab.dropCaches();
  await lab.unmount(root); // what was in memory is forgotten with the layer
  await lab.restart('SIGTERM');
  const again = await lab.mount(snapshot);
  await checkKeptFiles(lab, files, again);
  await lab.unmount(again);
});

test('A layer that is not in use makes room for one that is read', async () => {
  await using lab = await LayerLab.open('no_background_fetch = true', (root) => mountDisk(root, 64 * mib));
  const prepare = async (files: readonly FileSpec[]) => lab.prepare([lab.layer(estargzBlob(files, mib))]);
  const old = noiseFiles(5, 5 * mib);
  const oldSnapshot = await prepare(old);
  const oldRoot = await lab.mount(oldSnapshot);
  await checkFiles(old, oldRoot);
  await lab.unmount(oldRoot);
  await lab.remove(oldSnapshot, 1);

  const files = noiseFiles(8, 5 * mib);
  const root = await lab.mount(await prepare(files));
  while ((await readdir(join(lab.root, 'layers'))).length > 1) await checkFiles(files, root);
  await lab.dropCaches();
  await checkFiles(files, root);
  const before = lab.registry.requests.length;
  await lab.dropCaches();
  await checkFiles(files, root);
  assert.equal(lab.registry.requests.length, before, 'all of it is on the disk');
  await lab.unmount(root);
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { launchDaemon } from '../../support/daemon.ts';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { checkFiles, checkKeptFiles } from '../../support/layer-files.ts';
import { LayerLab, mountDisk } from '../../support/layer-lab.ts';
import { tryRun } from '../../support/program.ts';
import { retried } from '../../support/until.ts';
import { Workspace } from '../../support/workspace.ts';

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

test('A layer that is not in use makes room for others on a disk that can hold no more files', async () => {
  const config = 'no_background_fetch = true\n';
  await using lab = await LayerLab.open(config, (root) => mountDisk(root, 64 * mib, `${root}.ext4`, 128));
  const prepare = async (): Promise<string> => lab.prepare([lab.layer(estargzBlob(noiseFiles(2, 1000), mib))]);
  const snapshots: string[] = [];
  const failure = await (async () => {
    while (true) snapshots.push(await prepare());
  })().catch((error: Error) => error);
  assert.match(String(failure), /is not lazy|no space left/i);
  const refusals = lab.complaints.filter(({ msg }) => msg === 'failed to prepare remote snapshot');
  for (const { reason, error } of refusals) {
    assert.equal(reason, 'limit');
    assert.match(String(error), /ENOSPC.*free some space, or files if "df -i" shows that there are too many/);
  }
  assert.ok(snapshots.length > 5, `${snapshots.length} layers`);
  for (const snapshot of snapshots) await lab.remove(snapshot, 1);
  await retried(prepare, () => true);
  const { ffree } = await statfs(lab.root);
  assert.ok(ffree > 0, `${ffree} files are free`);
});

test('A daemon that starts on a full disk says that the disk is full', async () => {
  await using workspace = await Workspace.open('lp-full');
  const directory = join(workspace.path, 'lp');
  await mountDisk(join(directory, 'root'), 16 * mib);
  await tryRun('dd', ['if=/dev/zero', `of=${join(directory, 'root', 'ballast')}`, 'bs=1k', 'status=none']);
  await using daemon = await launchDaemon(directory);
  await daemon.program.ended;
  assert.match(
    String(daemon.log().at(-1)?.['error']),
    /^Cannot write below ".*root": ENOSPC: .*; free some space there, or choose another --root$/,
  );
});

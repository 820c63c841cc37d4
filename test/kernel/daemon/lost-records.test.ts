import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { launchDaemon, logged, startDaemon } from '../../support/daemon.ts';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { keepersBelow } from '../../support/workspace.ts';

test('A daemon whose records are lost does not start, and takes nothing away, until it is told to go on', async () => {
  await using lab = await LayerLab.open();
  const content = randomBytes(3 << 20);
  const snapshot = await lab.prepare([lab.layer(estargzBlob([{ path: 'file', type: 'reg', content }], 1 << 20))]);
  const directory = await lab.mount(snapshot, true);
  await writeFile(join(directory, 'written'), 'written');
  const state = join(lab.root, 'snapshotter');
  const store = join(state, 'snapshots.db');
  const ids = (await readdir(join(state, 'snapshots'))).sort();
  const keepers = await keepersBelow(lab.workspace.path);
  await lab.daemon.program.stop('SIGKILL');
  const place = join(lab.workspace.path, 'lp');

  for (const damage of [() => rm(`${store}-wal`), () => truncate(store), () => rm(store)]) {
    await damage();
    await using refused = await launchDaemon(place);
    await refused.program.ended;
    const last = refused.log().at(-1);
    assert.equal(last?.['msg'], 'Cannot start');
    assert.match(String(last?.['error']), /Cannot use ".*snapshots.db": it .*; restore /);
    assert.deepEqual((await readdir(join(state, 'snapshots'))).sort(), ids);
    assert.deepEqual(await keepersBelow(lab.workspace.path), keepers);
    assert.equal(await readFile(join(directory, 'written'), 'utf8'), 'written');
  }

  // What the message says: without the directory it begins again, and a file that was written is in the one that was
  // moved away.
  await rename(state, `${state}.old`);
  await using next = await startDaemon(place);
  await logged(next, 'lazypull is ready');
  const written = (await readdir(join(`${state}.old`, 'snapshots'), { recursive: true })).filter((path) =>
    path.endsWith('fs/written'),
  );
  assert.equal(written.length, 1);
  assert.ok(content.equals(await readFile(join(directory, 'file'))), 'who has it mounted goes on');
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { checkFiles, checkKeptFiles } from '../../support/layer-files.ts';
import { LayerLab, mountDisk } from '../../support/layer-lab.ts';
import { run, tryRun } from '../../support/program.ts';
import { unmountBelow } from '../../support/workspace.ts';

const mib = 1 << 20;

test('What a disk loses that fails to write is never read, and a layer is kept again once the disk is mended', async () => {
  let memory = '';
  await using lab = await LayerLab.open('no_background_fetch = true', async (root) => {
    // A disk that is a file without space to grow fails with EIO when the kernel writes to it, long after a program
    // has.
    memory = `${root}.memory`;
    await mkdir(memory, { recursive: true });
    await run('mount', ['-t', 'tmpfs', '-o', 'size=80m', 'tmpfs', memory]);
    await mountDisk(root, 128 * mib, join(memory, 'disk'));
  });
  const files = Array.from(
    { length: 60 },
    (_, i): FileSpec => ({ path: `file-${i}`, type: 'reg', content: randomBytes(500_000) }),
  );
  const everyTenth = files.filter((_, i) => i % 10 === 0);
  const snapshot = await lab.prepare([lab.layer(estargzBlob(files, mib))]);
  const root = await lab.mount(snapshot);
  // So many pieces that the file system has a block of its own for where they are, and that block is on the disk: it
  // does not bear the loss of a new one.
  await checkFiles(everyTenth, root);
  await run('sync', ['-f', lab.root]);

  const ballast = join(memory, 'ballast');
  await tryRun('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k', 'status=none']);
  await checkFiles(files.slice(1, 8), root);
  await tryRun('sync', ['-f', lab.root]);
  await lab.dropCaches();
  for (let pass = 0; pass < 2; pass++) {
    await Promise.all([checkFiles(files, root), checkFiles(files.toReversed(), root)]);
    await lab.dropCaches();
  }
  assert.ok(lab.complaints.some(({ msg }) => /lost data of a layer that it had accepted/.test(String(msg))));
  assert.ok(lab.complaints.every(({ level }) => level !== 'error'));

  await rm(ballast);
  await run('umount', [root]);
  await lab.daemon.program.stop();
  await unmountBelow(lab.root);
  await tryRun('e2fsck', ['-fy', join(memory, 'disk')]);
  await run('mount', ['-o', 'loop', join(memory, 'disk'), lab.root]);
  await lab.restart('SIGTERM');
  const again = await lab.mount(snapshot);
  await checkKeptFiles(lab, files, again);
});

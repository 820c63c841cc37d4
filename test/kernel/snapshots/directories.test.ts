import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { unmount } from '../../../src/kernel/mount.ts';
import { Refusal } from '../../../src/layers/resolve/refusal.ts';
import { silentLog } from '../../../src/log.ts';
import { Directories } from '../../../src/snapshots/directories.ts';
import { ofToc } from '../../../src/layers/layer-origin.ts';
import type { RemoteLayers } from '../../../src/snapshots/remote-layers.ts';

/** No layers, but for how what is mounted is taken away. */
function layersWith(take: RemoteLayers['unmount']): RemoteLayers {
  return {
    mount: () => Promise.resolve(ofToc),
    restore: () => Promise.resolve(),
    resolve: () => new Refusal('annotations', 'InvalidArgument', 'no layers here'),
    refusalOf: () => undefined,
    checkStacking: () => Promise.resolve(),
    check: () => Promise.resolve(),
    usage: () => Promise.resolve({ inodes: 0, bytes: 0, mostBytes: 0 }),
    unmount: take,
  };
}

it('never removes through a mount that stays', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'directories-'));
  let stays = true;
  const warnings: object[] = [];
  const directories = new Directories(
    root,
    layersWith(async (mountpoint) => void (stays || (await unmount(mountpoint)))),
    { ...silentLog, warn: (fields) => void warnings.push(fields) },
  );
  await directories.create(1, 'active');
  directories.release(1);
  const content = directories.content(1);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', content]);
  t.after(async () => {
    while (await unmount(content));
    rmSync(root, { recursive: true, force: true });
  });
  writeFileSync(join(content, 'precious'), '');

  await directories.remove(1);
  const records = () => ({ known: new Set<number>(), removed: new Set([1]) });
  await directories.removeStrays(records);
  assert.equal(warnings.length, 2);
  assert.ok(existsSync(join(content, 'precious')));

  stays = false;
  await directories.removeStrays(records);
  assert.deepEqual(readdirSync(root), []);
});

it('says of a disk that is read-only that it is', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'directories-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', root]);
  t.after(async () => {
    while (await unmount(root));
    rmSync(root, { recursive: true, force: true });
  });
  const directories = new Directories(
    root,
    layersWith(async (mountpoint) => void (await unmount(mountpoint))),
    silentLog,
  );
  await assert.rejects(directories.create(1, 'active'), { code: 'EROFS' });
});

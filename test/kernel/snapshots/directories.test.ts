import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { unmount } from '../../../src/kernel/mount.ts';
import { silentLog } from '../../../src/log.ts';
import { Directories } from '../../../src/snapshots/directories.ts';

it('never removes through a mount that stays', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'directories-'));
  let stays = true;
  const warnings: object[] = [];
  const directories = new Directories(
    root,
    {
      mount: () => Promise.resolve(),
      restore: () => Promise.resolve(),
      checkLabels() {},
      checkStacking: () => Promise.resolve(),
      check: () => Promise.resolve(),
      unmount: async (mountpoint) => void (stays || (await unmount(mountpoint))),
    },
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
  await directories.removeStrays(() => new Set());
  assert.equal(warnings.length, 2);
  assert.ok(existsSync(join(content, 'precious')));

  stays = false;
  await directories.removeStrays(() => new Set());
  assert.deepEqual(readdirSync(root), []);
});

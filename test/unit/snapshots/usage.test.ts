import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { diskUsage } from '../../../src/snapshots/usage.ts';

it('counts blocks and inodes as du does, hard links once, whatever the names', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'usage-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'a/b'), { recursive: true });
  for (let i = 0; i < 100; i++) writeFileSync(join(root, 'a', `f${i}`), Buffer.alloc(i * 100));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0xfe])]), 'not UTF-8');
  linkSync(join(root, 'a/f99'), join(root, 'a/b/link'));
  symlinkSync('/', join(root, 'a/b/symlink'));

  const bytes = Number(execFileSync('du', ['-s', '-B1', root], { encoding: 'utf8' }).split('\t')[0]);
  assert.deepEqual(await diskUsage(root), { inodes: 3 + 100 + 1 + 1, bytes });
  assert.deepEqual(await diskUsage(join(root, 'absent')), { inodes: 0, bytes: 0 });
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { diskUsage, TreeUsages } from '../../../src/snapshots/usage.ts';

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

it('counts a small tree again at each call, and shares a walk between calls at one time', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'usage-'));
  t.after(() => rmSync(root, { recursive: true }));
  const usages = new TreeUsages();
  const [first, same] = [usages.of(root), usages.of(root)];
  assert.equal(same, first);
  assert.equal((await first).inodes, 1);
  writeFileSync(join(root, 'file'), '');
  assert.equal((await usages.of(root)).inodes, 2);
});

it('does not count a large tree at every call, until it is forgotten', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'usage-'));
  t.after(() => rmSync(root, { recursive: true }));
  const usages = new TreeUsages();
  for (let i = 0; i < 20_000; i++) writeFileSync(join(root, `f${i}`), '');
  assert.equal((await usages.of(root)).inodes, 20_001);
  writeFileSync(join(root, 'late'), '');
  assert.equal((await usages.of(root)).inodes, 20_001);
  usages.forget(root);
  assert.equal((await usages.of(root)).inodes, 20_002);
});

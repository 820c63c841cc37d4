import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, it } from 'node:test';
import { removeTree } from '../../../src/snapshots/remove-tree.ts';

it('removes any names, and follows no link', async (t) => {
  const { tree, outside } = trees(t);
  writeFileSync(join(outside, 'keep'), '');
  mkdirSync(join(tree, 'a/b/c'), { recursive: true });
  symlinkSync(outside, join(tree, 'a/link'));
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/a/`), Buffer.from([0xff])]), '');
  for (let i = 0; i < 50; i++) writeFileSync(join(tree, 'a/b', String(i)), '');
  await removeTree(tree);
  assert.ok(!existsSync(tree));
  assert.ok(existsSync(join(outside, 'keep')));
  await removeTree(tree);
});

it('removes what lies deeper than a path can say', async (t) => {
  const { tree, outside } = trees(t);
  const half = Array.from({ length: 15 }, () => 'd'.repeat(200)).join('/');
  for (const top of [tree, outside]) {
    mkdirSync(join(top, half), { recursive: true });
    writeFileSync(join(top, half, 'file'), '');
  }
  renameSync(outside, join(tree, half, 'second half'));
  await removeTree(tree);
  assert.ok(!existsSync(tree));
});

function trees(t: TestContext): { tree: string; outside: string } {
  const root = mkdtempSync(join(tmpdir(), 'remove-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  for (const name of ['tree', 'outside']) mkdirSync(join(root, name));
  return { tree: join(root, 'tree'), outside: join(root, 'outside') };
}

import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readTocJson } from '../../../../src/formats/estargz/toc.ts';
import { buildTree } from '../../../../src/formats/tree.ts';
import { checkStacking, type Stacking, stackingOf } from '../../../../src/layers/plan/stacking.ts';

const directory = (name: string, fields: object = {}) => ({ name, type: 'dir', mode: 0o755, ...fields });

const stack = (...entries: object[]): Stacking =>
  stackingOf(buildTree(readTocJson(Buffer.from(JSON.stringify({ entries })), 1)));

/** Checks a layer on lazy ones. */
const check = (upper: Stacking, ...lower: Stacking[]) =>
  checkStacking(
    upper,
    lower.map((_, i) => String(i)),
    async (path) => lower[Number(path)],
  );

test('stackingOf() lists directories without an entry, and what is not a plain directory', () => {
  assert.deepEqual(
    stack(
      { name: 'a/b/file', type: 'reg' },
      directory('plain'),
      directory('tmp', { mode: 0o1777 }),
      directory('home', { uid: 1000 }),
      directory('labelled', { xattrs: { 'user.a': 'YQ==' } }),
      { name: 'plain/link', type: 'symlink', linkName: 'x' },
      directory('opaque'),
      { name: 'opaque/.wh..wh..opq', type: 'reg' },
    ),
    { hasWhiteouts: true, implied: ['a', 'a/b'], special: ['tmp', 'home', 'labelled', 'plain/link'] },
  );
  assert.equal(stack({ name: 'a/.wh.b', type: 'reg' }).hasWhiteouts, true);
  assert.equal(stack({ name: 'a/b', type: 'char', devMajor: 1 }).hasWhiteouts, false);
});

test('checkStacking() refuses whiteouts in the lowest layer only', async () => {
  const upper = stack({ name: '.wh.gone', type: 'reg' });
  await assert.rejects(check(upper), { code: 'FailedPrecondition' });
  await check(upper, stack());
});

test('checkStacking() refuses a directory without an entry if a lower lazy layer has one that is not plain', async () => {
  const upper = stack({ name: 'tmp/a/file', type: 'reg' });
  await check(upper, stack(directory('tmp')), stack({ name: 'tmp/a/b', type: 'reg' }));
  for (const lower of [
    directory('tmp', { mode: 0o1777 }),
    directory('tmp/a', { gid: 5 }),
    { name: 'tmp', type: 'symlink', linkName: 'x' },
  ]) {
    await assert.rejects(check(upper, stack(), stack(lower)), /"tmp(\/a)?"/);
  }
  await check(stack(directory('tmp'), { name: 'tmp/file', type: 'reg' }), stack(directory('tmp', { mode: 0o1777 })));
});

test('checkStacking() looks into layers that were unpacked', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-stacking-'));
  t.after(() => rm(root, { recursive: true }));
  const upper = stack({ name: 'a/café/file', type: 'reg' });
  const unpacked = () => checkStacking(upper, [root], () => Promise.resolve(undefined));
  await unpacked();
  await writeFile(join(root, 'a'), '');
  await assert.rejects(unpacked(), /"a"/);
  await rm(join(root, 'a'));
  await mkdir(join(root, 'a/café'), { recursive: true });
  await chmod(join(root, 'a'), 0o755);
  await chmod(join(root, 'a/café'), 0o755);
  if (process.getuid?.() === 0) await unpacked();
  await chmod(join(root, 'a/café'), 0o700);
  await assert.rejects(unpacked(), process.getuid?.() === 0 ? /"a\/café"/ : /"a"/);
  await rm(join(root, 'a'), { recursive: true });
  await symlink('/', join(root, 'a'));
  await assert.rejects(unpacked(), /"a"/);
});

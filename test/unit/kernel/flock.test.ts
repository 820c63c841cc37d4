import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { tryLockFile } from '../../../src/kernel/flock.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-flock-'));
after(() => rmSync(directory, { recursive: true }));

test('tryLockFile gives the lock to one, and tells the other who has it', async () => {
  const path = join(directory, 'lock');
  const first = await tryLockFile(path);
  assert.ok('lock' in first);
  assert.deepEqual(await tryLockFile(path), { holder: process.pid, isBrief: false });
  first.lock[Symbol.dispose]();
  const second = await tryLockFile(path, true);
  assert.ok('lock' in second);
  assert.deepEqual(await tryLockFile(path), { holder: process.pid, isBrief: true });
  second.lock[Symbol.dispose]();
});

test('tryLockFile writes nothing where a symlink leads, and waits for no pipe', async () => {
  const other = join(directory, 'other');
  writeFileSync(other, 'of somebody else');
  symlinkSync(other, join(directory, 'link'));
  symlinkSync(join(directory, 'nothing'), join(directory, 'dangling'));
  mkdirSync(join(directory, 'directory'));
  assert.equal(spawnSync('mkfifo', [join(directory, 'pipe')]).status, 0);
  for (const name of ['link', 'dangling', 'directory', 'pipe']) {
    const path = join(directory, name);
    await assert.rejects(tryLockFile(path), {
      code: 'FailedPrecondition',
      message: `Cannot lock "${path}": it is not a file`,
    });
  }
  assert.equal(readFileSync(other, 'utf8'), 'of somebody else');
});

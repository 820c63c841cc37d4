import assert from 'node:assert/strict';
import { chmod, lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LazypullError } from '../../../src/errors.ts';
import { changeFile } from '../../../src/setup/change-file.ts';

async function directoryOf(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-setup-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

test('changeFile keeps the mode of a file, and the old ones beside it', async (t) => {
  const directory = await directoryOf(t);
  const file = join(directory, 'config');
  await writeFile(file, 'one');
  await chmod(file, 0o640);
  await symlink('config', join(directory, 'link'));
  const add = (text: string) => `${text}+`;
  const first = await changeFile(join(directory, 'link'), add);
  assert.deepEqual(first, { changed: true, backup: `${file}.before-lazypull` });
  assert.deepEqual(await changeFile(file, add), { changed: true, backup: `${file}.before-lazypull.2` });
  assert.deepEqual(await changeFile(file, (text) => text), { changed: false, backup: undefined });
  assert.equal(await readFile(file, 'utf8'), 'one++');
  assert.equal(await readFile(`${file}.before-lazypull`, 'utf8'), 'one');
  assert.equal((await stat(file)).mode & 0o777, 0o640);
  assert.ok((await lstat(join(directory, 'link'))).isSymbolicLink());
  assert.equal((await readdir(directory)).length, 4);
});

test('changeFile makes a file that is not there, with its directory', async (t) => {
  const file = join(await directoryOf(t), 'etc', 'config');
  assert.deepEqual(await changeFile(file, (text) => `${text}new`), { changed: true, backup: undefined });
  assert.equal(await readFile(file, 'utf8'), 'new');
});

test('changeFile leaves a file alone that cannot be changed, and names it', async (t) => {
  const directory = await directoryOf(t);
  const file = join(directory, 'config');
  await writeFile(file, 'old');
  const refuse = () => {
    throw new LazypullError('InvalidArgument', 'No');
  };
  await assert.rejects(changeFile(file, refuse), { code: 'FailedPrecondition', message: `Cannot change "${file}"` });
  await assert.rejects(
    changeFile(directory, (text) => text),
    { code: 'Unavailable' },
  );
  assert.deepEqual(await readdir(directory), ['config']);
  assert.equal(await readFile(file, 'utf8'), 'old');
});

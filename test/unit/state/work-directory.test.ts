import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { clearLeft, WorkDirectory } from '../../../src/state/work-directory.ts';
import { silentLog } from '../../../src/log.ts';

test('WorkDirectory goes with all that is in it, and if it is left, the next command removes it', async (t) => {
  const parent = temporary(t);
  let path: string;
  {
    await using work = await WorkDirectory.make(parent);
    ({ path } = work);
    assert.equal(dirname(path), parent);
    writeFileSync(join(path, 'file'), '');
    await clearLeft(parent, undefined, silentLog);
    assert.ok(existsSync(join(path, 'file')), 'it is in use');
  }
  assert.ok(!existsSync(path));
  for (const name of ['lazypull-Abc123', 'lazypull-check-Abc123']) {
    mkdirSync(join(parent, name, 'at/0'), { recursive: true, mode: 0o700 });
    writeFileSync(join(parent, name, 'lock'), '1\n');
    writeFileSync(join(parent, name, 'target'), '/nowhere');
    await clearLeft(parent, '/nowhere', silentLog);
    assert.ok(!existsSync(join(parent, name)), name);
  }
});

test('clearLeft does not touch what another user may have made, nor what it leads to', async (t) => {
  const parent = temporary(t);
  const precious = join(parent, 'precious');
  writeFileSync(precious, 'precious');
  const others = [
    'lazypull-open01',
    'lazypull-nolock',
    'lazypull-7chars0',
    'lazypull',
    'lazypull-check-',
    'other-abcdef',
  ];
  for (const name of others) {
    mkdirSync(join(parent, name), { mode: 0o700 });
    if (name !== 'lazypull-nolock') symlinkSync(precious, join(parent, name, 'lock'));
  }
  chmodSync(join(parent, 'lazypull-open01'), 0o777);
  symlinkSync(join(parent, 'other-abcdef'), join(parent, 'lazypull-linked'));
  writeFileSync(join(parent, 'lazypull-afile0'), '');
  await clearLeft(parent, undefined, silentLog);
  assert.equal(readFileSync(precious, 'utf8'), 'precious');
  for (const name of [...others, 'lazypull-linked', 'lazypull-afile0']) assert.ok(existsSync(join(parent, name)), name);
  await clearLeft(join(parent, 'none'), undefined, silentLog);
});

test('WorkDirectory has a path without symlinks', async (t) => {
  const parent = temporary(t);
  symlinkSync(parent, join(parent, 'link'));
  await using work = await WorkDirectory.make(join(parent, 'link'), 'lazypull-check-');
  assert.match(basename(work.path), /^lazypull-check-.{6}$/);
  assert.equal(dirname(work.path), parent);
});

function temporary(t: TestContext): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'work-directory-')));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

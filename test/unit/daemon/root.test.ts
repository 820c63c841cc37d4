import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openRoot } from '../../../src/daemon/root.ts';

describe('openRoot', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-root-'));
  after(() => rmSync(directory, { recursive: true }));

  it('makes the directory for its owner alone, also when it was there', async () => {
    const path = join(directory, 'a', 'b');
    (await openRoot(path, false))[Symbol.dispose]();
    assert.equal(statSync(path).mode & 0o777, 0o700);
    const open = join(directory, 'open');
    mkdirSync(open, { mode: 0o755 });
    (await openRoot(open, false))[Symbol.dispose]();
    assert.equal(statSync(open).mode & 0o777, 0o700);
  });

  it('refuses a root that is in use and names the process', async () => {
    const path = join(directory, 'used');
    using _first = await openRoot(path, false);
    await assert.rejects(openRoot(path, false), { message: new RegExp(`process ${process.pid} uses it`) });
  });

  it('takes a root whose last user has gone', async () => {
    const path = join(directory, 'left');
    mkdirSync(path);
    writeFileSync(join(path, 'lock'), '1\n');
    (await openRoot(path, false))[Symbol.dispose]();
    (await openRoot(path, false))[Symbol.dispose]();
  });

  it('says which directory cannot be made', async () => {
    const path = join(directory, 'file', 'root');
    writeFileSync(join(directory, 'file'), '');
    await assert.rejects(openRoot(path, false), { message: `Cannot make the root directory "${path}"` });
  });
});

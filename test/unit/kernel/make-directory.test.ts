import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { makeDirectory } from '../../../src/kernel/make-directory.ts';

describe('makeDirectory', () => {
  const top = mkdtempSync(join(tmpdir(), 'lazypull-mkdir-'));
  after(() => rmSync(top, { recursive: true }));

  it('makes what is missing, with its mode, and leaves what is there', () => {
    makeDirectory(join(top, 'a/b'), 0o700);
    assert.equal(statSync(join(top, 'a')).mode & 0o777, 0o700);
    assert.equal(statSync(join(top, 'a/b')).mode & 0o777, 0o700);
    makeDirectory(join(top, 'a/b'), 0o755);
    assert.equal(statSync(join(top, 'a/b')).mode & 0o777, 0o700);
  });

  it('fails if nothing can be made, and does not go on for ever', () => {
    assert.throws(() => makeDirectory('/proc/lazypull/x'), { code: 'ENOENT' });
    writeFileSync(join(top, 'file'), '');
    assert.throws(() => makeDirectory(join(top, 'file/x')), { code: 'ENOTDIR' });
  });
});

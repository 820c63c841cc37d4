import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRoot } from '../../../src/state/root.ts';
import { checkRootPath } from '../../../src/daemon/root-disk.ts';

test('checkRootPath refuses a root whose path overlayfs cannot take from every client', () => {
  for (const path of ['/a:b', '/data,x/root', '/data\\root', '/a\nb/root', '/a/root:', '/a\tb', '/a\u007fb']) {
    assert.throws(() => checkRootPath(path), {
      code: 'FailedPrecondition',
      message: /^Cannot use the root directory ".*": overlayfs cannot take ".*" in a path from every client$/,
    });
  }
  for (const path of ['/var/lib/lazypull', '/a b/ä€-_=+@%"\'$(x)', '/a.b;c']) checkRootPath(path);
});

test('checkNotShared refuses a root that others use too, before it keeps them out', async (t) => {
  const mode = statSync('/tmp').mode;
  t.after(() => chmodSync('/tmp', mode & 0o7777));
  await assert.rejects(openRoot('/tmp'), { code: 'FailedPrecondition', message: /it is open to other users/ });
  assert.equal(statSync('/tmp').mode, mode);
  for (const path of ['/', '/tmp', '/var/cache', '/usr', '/var', '/var/lib', '/run', '/etc']) {
    assert.throws(() => checkRootPath(path), {
      code: 'FailedPrecondition',
      message: /^Cannot use the root directory ".*": .*is open to other users/,
    });
  }
  for (const path of ['/var/lib/containerd-stargz-grpc', '/run/lazypull', '/tmp/x', '/data', '/varnish'])
    checkRootPath(path);
});

test('checkRootPath refuses a root that cannot be a directory, or leaves it to the code that makes it', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'root-disk-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'file');
  writeFileSync(file, '');
  assert.throws(() => checkRootPath(file), { code: 'FailedPrecondition', message: /": it is not a directory$/ });
  checkRootPath(join(file, 'root'));
  checkRootPath(join(directory, 'n'.repeat(300)));
});

test('checkRootPath refuses a dangling symlink, and says where it leads', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'root-disk-'));
  t.after(() => rmSync(directory, { recursive: true }));
  symlinkSync('/nowhere/at all', join(directory, 'root'));
  assert.throws(() => checkRootPath(join(directory, 'root')), {
    code: 'FailedPrecondition',
    message: /it is a symlink to "\/nowhere\/at all", which is not there$/,
  });
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, linkSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasOpen } from '../../../src/kernel/pidfd.ts';

const script = `
  import { openSync } from 'node:fs';
  const { identityOf, isDying, isRunning } = await import(process.argv[1]);
  const { explain } = await import(process.argv[2]);
  const self = identityOf(process.pid);
  const parent = identityOf(process.ppid);
  const nobody = { pid: 2 ** 22 + 1, startTicks: 1 };
  const before = [isRunning(self), isRunning({ ...self, startTicks: 1 }), isRunning(nobody)];
  let failure;
  while (failure === undefined) {
    try {
      openSync('/dev/null');
    } catch (error) {
      failure = error;
    }
  }
  const after = [isRunning(self), isRunning(parent), isRunning(nobody), isDying(self.pid)];
  let thrown;
  try {
    identityOf(self.pid);
  } catch (error) {
    thrown = error.code;
  }
  process.stdout.write(JSON.stringify({ before, after, thrown, text: explain(failure) }));
`;

test('hasOpen finds an open file by each of its paths, and by no path of another', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'pidfd-'));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const name of ['one', 'two']) {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'other'), '');
  }
  writeFileSync(join(directory, 'one', 'lock'), '');
  linkSync(join(directory, 'one', 'lock'), join(directory, 'two', 'lock')); // as a bind mount has it
  const fd = openSync(join(directory, 'one', 'lock'), 'r');
  t.after(() => closeSync(fd));
  assert.ok(hasOpen(process.pid, join(directory, 'one', 'lock')));
  assert.ok(hasOpen(process.pid, join(directory, 'two', 'lock')));
  assert.ok(!hasOpen(process.pid, join(directory, 'one', 'other')));
  assert.ok(!hasOpen(process.pid, join(directory, 'missing')));
  assert.ok(!hasOpen(2 ** 22 + 1, join(directory, 'one', 'lock')));
});

test('isRunning does not take processes for dead without a free descriptor, and says what is lacking', () => {
  const [pidfd, errors] = ['kernel/pidfd.ts', 'errors.ts'].map(
    (path) => new URL(`../../../src/${path}`, import.meta.url),
  );
  const node = [process.execPath, '--input-type=module', '-e', script, String(pidfd), String(errors)];
  const { stdout, stderr } = spawnSync('/bin/sh', ['-c', 'ulimit -n 64; exec "$@"', 'sh', ...node], {
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  const { before, after, thrown, text } = JSON.parse(stdout);
  assert.deepEqual(before, [true, false, false]);
  assert.deepEqual(after, [true, true, false, false]);
  assert.equal(thrown, 'EMFILE');
  assert.match(text, /^EMFILE: .*; raise the number of files that a process may have open \(LimitNOFILE=/);
});

import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkOnlyOursIn } from '../../../src/state/ownership.ts';
import { openRoot } from '../../../src/state/root.ts';
import { clearSocket } from '../../../src/daemon/socket.ts';

test('checkOnlyOursIn refuses a directory in which another user could put a socket', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-ownership-'));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const mode of [0o700, 0o755, 0o1777]) {
    chmodSync(directory, mode);
    checkOnlyOursIn(directory);
  }
  for (const mode of [0o777, 0o707]) {
    chmodSync(directory, mode);
    assert.throws(() => checkOnlyOursIn(directory), { code: 'FailedPrecondition', message: /others may write there/ });
    await assert.rejects(clearSocket(join(directory, 'lp.sock')), /others may write there/);
  }
  if (process.geteuid?.() !== 0) return;
  chownSync(directory, 0, 12);
  chmodSync(directory, 0o770);
  assert.throws(() => checkOnlyOursIn(directory), /others may write there/);
  chownSync(directory, 12, 0);
  await assert.rejects(openRoot(directory), /it belongs to user 12/);
});

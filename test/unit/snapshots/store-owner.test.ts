import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { silentLog } from '../../../src/log.ts';
import { StoreOwner } from '../../../src/snapshots/store-owner.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-sole-'));
after(() => rmSync(directory, { recursive: true }));

async function start(t: TestContext): Promise<ChildProcess & { pid: number }> {
  const child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  t.after(() => child.kill('SIGKILL'));
  return child as ChildProcess & { pid: number };
}

test('StoreOwner gives the store to the first process until it ends, and tells the second one why', async (t) => {
  const path = join(directory, 'first.json');
  const lines: unknown[] = [];
  const sole = new StoreOwner(path, '/run/x.sock', { ...silentLog, error: (_, message) => void lines.push(message) });
  const [first, second] = [await start(t), await start(t)];
  assert.equal(sole.process, undefined);
  sole.check(first.pid);
  sole.check(first.pid);
  assert.deepEqual(sole.process, { pid: first.pid, command: 'sleep' });
  for (let i = 0; i < 3; i++) {
    assert.throws(() => sole.check(second.pid), {
      code: 'FailedPrecondition',
      message: new RegExp(
        `Two clients use the socket "/run/x.sock": process ${first.pid} \\(sleep\\) has it, and process ${second.pid} `,
      ),
      hint: /another --address/,
    });
  }
  assert.equal(lines.length, 1, 'one line of each process');
  assert.deepEqual(sole.refused, { pid: second.pid, command: 'sleep' });
  sole.check(0); // of another pid namespace: it cannot be identified
  first.kill('SIGKILL');
  await once(first, 'exit');
  assert.equal(sole.refused, undefined);
  sole.check(second.pid);
  assert.deepEqual(sole.process, { pid: second.pid, command: 'sleep' });
});

test('StoreOwner gives a copy of a store to a new client, while that of the original goes on', async (t) => {
  const [original, copy] = [mkdtempSync(join(directory, 'original-')), mkdtempSync(join(directory, 'copy-'))];
  const [first, second] = [await start(t), await start(t)];
  new StoreOwner(join(original, 'client.json'), '/x', silentLog).check(first.pid);
  copyFileSync(join(original, 'client.json'), join(copy, 'client.json'));
  const sole = new StoreOwner(join(copy, 'client.json'), '/y', silentLog);
  sole.check(second.pid);
  assert.deepEqual(sole.process, { pid: second.pid, command: 'sleep' });
  const again = new StoreOwner(join(original, 'client.json'), '/x', silentLog);
  assert.throws(() => again.check(second.pid), { code: 'FailedPrecondition' });
});

test('StoreOwner.called aborts at the first call of any process, even if it cannot be named or is refused', async (t) => {
  const path = join(directory, 'called.json');
  const first = await start(t);
  new StoreOwner(path, '/x', silentLog).check(first.pid);
  const unnamed = new StoreOwner(path, '/x', silentLog);
  assert.equal(unnamed.called.aborted, false);
  unnamed.check(0);
  assert.equal(unnamed.called.aborted, true);
  const refusing = new StoreOwner(path, '/x', silentLog);
  assert.throws(() => refusing.check(process.pid), { code: 'FailedPrecondition' });
  assert.equal(refusing.called.aborted, true);
});

test('StoreOwner keeps its owner for the next life of the daemon', async (t) => {
  const path = join(directory, 'next.json');
  const [first, second] = [await start(t), await start(t)];
  new StoreOwner(path, '/x', silentLog).check(first.pid);
  const next = new StoreOwner(path, '/x', silentLog);
  assert.throws(() => next.check(second.pid), { code: 'FailedPrecondition' });
  next.check(first.pid);
  first.kill('SIGKILL');
  await once(first, 'exit');
  new StoreOwner(path, '/x', silentLog).check(second.pid);
});

test('StoreOwner ignores a file of another boot, of an ended process, or with nonsense', async (t) => {
  const path = join(directory, 'odd.json');
  const first = await start(t);
  new StoreOwner(path, '/x', silentLog).check(first.pid);
  const record = JSON.parse(readFileSync(path, 'utf8')) as object;
  const odd = [{ ...record, boot: 'another' }, { ...record, startTicks: 1 }, { ...record, pid: 'x' }, [], 'x'];
  for (const text of ['', '{', 'null', ...odd.map((each) => JSON.stringify(each))]) {
    writeFileSync(path, text);
    new StoreOwner(path, '/x', silentLog).check(process.pid);
  }
});

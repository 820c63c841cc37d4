import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openRoot } from '../../../src/daemon/root.ts';
import { tryLockFile } from '../../../src/kernel/flock.ts';

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

  it('lets the next one wait for it also when it took the place of a process that was still dying', async (t) => {
    const path = join(directory, 'dying');
    mkdirSync(path);
    // It has the lock, and once it has ended it stays there as a zombie, for a while: its parent does not wait for it.
    const hold =
      "import fcntl, os, time\nif os.fork() == 0:\n f = open(os.environ['FILE'], 'a+')\n fcntl.flock(f, fcntl.LOCK_EX)\n f.write(f'{os.getpid()}\\n')\n f.flush()\n pid = os.fork()\n if pid == 0: time.sleep(1)\n else: print('held', flush=True)\n os._exit(0)\ntime.sleep(60)";
    const holder = spawn('python3', ['-c', hold], { env: { ...process.env, FILE: join(path, 'lock') } });
    t.after(() => holder.kill('SIGKILL'));
    await once(holder.stdout, 'data');
    using root = await openRoot(path, true);
    await assert.rejects(openRoot(path, true), { message: new RegExp(`process ${process.pid} uses it`) });
    await root.alone;
    const next = await tryLockFile(join(path, 'lock.next'));
    assert.ok('lock' in next, 'whoever wants to take over now must be able to wait for us');
    next.lock[Symbol.dispose]();
    assert.ok(!('lock' in (await tryLockFile(join(path, 'lock')))));
  });

  it('says which directory cannot be made', async () => {
    const path = join(directory, 'file', 'root');
    writeFileSync(join(directory, 'file'), '');
    await assert.rejects(openRoot(path, false), { message: `Cannot make the root directory "${path}"` });
  });
});

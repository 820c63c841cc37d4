import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openRoot, type RootOptions } from '../../../src/state/root.ts';
import { tryLockFile } from '../../../src/kernel/flock.ts';

describe('openRoot', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-root-'));
  after(() => rmSync(directory, { recursive: true }));

  it('makes the directory for its owner alone, also when it was there', async () => {
    const path = join(directory, 'a', 'b');
    (await openRoot(path))[Symbol.dispose]();
    assert.equal(statSync(path).mode & 0o777, 0o700);
    const open = join(directory, 'open');
    mkdirSync(open, { mode: 0o755 });
    (await openRoot(open))[Symbol.dispose]();
    assert.equal(statSync(open).mode & 0o777, 0o700);
  });

  it('refuses a root that is in use and names the process', async () => {
    const path = join(directory, 'used');
    using _first = await openRoot(path);
    await assert.rejects(openRoot(path), { message: new RegExp(`process ${process.pid} uses it`) });
  });

  it('waits for who needs a root for a short time only, and for who has not said yet who it is', async () => {
    const path = join(directory, 'visited');
    const visitor = await openRoot(path, { isBrief: true });
    const next = openRoot(path);
    const state = await Promise.race([next.then(() => 'taken'), delay(300, 'waits')]);
    assert.equal(state, 'waits');
    visitor[Symbol.dispose]();
    (await next)[Symbol.dispose]();
    const nameless = await tryLockFile(join(path, 'lock.next'));
    writeFileSync(join(path, 'lock.next'), '');
    const after = openRoot(path);
    await delay(50);
    assert.ok('lock' in nameless);
    nameless.lock[Symbol.dispose]();
    (await after)[Symbol.dispose]();
  });

  it('takes a root whose last user has gone', async () => {
    const path = join(directory, 'left');
    mkdirSync(path);
    writeFileSync(join(path, 'lock'), '1\n');
    (await openRoot(path))[Symbol.dispose]();
    (await openRoot(path))[Symbol.dispose]();
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
    using root = await openRoot(path, { takeover: true });
    await assert.rejects(openRoot(path, { takeover: true }), { message: new RegExp(`process ${process.pid} uses it`) });
    await root.alone;
    const next = await tryLockFile(join(path, 'lock.next'));
    assert.ok('lock' in next, 'whoever wants to take over now must be able to wait for us');
    next.lock[Symbol.dispose]();
    assert.ok(!('lock' in (await tryLockFile(join(path, 'lock')))));
  });

  it('is handed over to who waits, and to nobody who has given up', async (t) => {
    const path = join(directory, 'stopped');
    const user = await startUser(t, path);
    user.kill('SIGSTOP');
    await assert.rejects(openRoot(path, { takeover: true, handoverMs: 100 }), {
      code: 'Unavailable',
      message: /did not hand over within 0.1 s: the request is withdrawn$/,
    });
    user.kill('SIGCONT');
    await user.says('Not handing over: the process that asked for it has given up');
    await assert.rejects(openRoot(path), { message: new RegExp(`process ${user.pid} uses it`) });
    (await openRoot(path, { takeover: true }))[Symbol.dispose]();
    await user.says('Hands over');
    assert.deepEqual(readdirSync(path).sort(), ['lock', 'lock.next']);
  });

  it('is not handed over to a process that was killed while it waited', async (t) => {
    const path = join(directory, 'killed');
    const user = await startUser(t, path);
    user.kill('SIGSTOP');
    const asker = await startUser(t, path, { takeover: true });
    for (let waited = 0; !existsSync(join(path, 'handover')); waited += 10) {
      assert.ok(waited < 20_000);
      await delay(10);
    }
    asker.kill('SIGKILL');
    await once(asker, 'exit');
    user.kill('SIGCONT');
    await user.says('Not handing over: the process that asked for it has given up');
    user.kill('SIGUSR2'); // as a service manager does, which starts the next one later
    await user.says('Hands over');
  });

  it('stays where it is if the process that waits for it is told to end', async (t) => {
    const path = join(directory, 'interrupted');
    const user = await startUser(t, path);
    user.kill('SIGSTOP');
    const controller = new AbortController();
    const taken = openRoot(path, { takeover: true, signal: controller.signal });
    for (let waited = 0; !existsSync(join(path, 'handover')); waited += 10) {
      assert.ok(waited < 20_000);
      await delay(10);
    }
    controller.abort('SIGTERM');
    await assert.rejects(taken, { code: 'Canceled' });
    user.kill('SIGCONT');
    await user.says('Not handing over: the process that asked for it has given up');
  });

  it('is not given up by who is told to end once it is being handed over', async (t) => {
    const path = join(directory, 'accepted');
    const user = await startUser(t, path, {}, 1000);
    const controller = new AbortController();
    const taken = openRoot(path, { takeover: true, signal: controller.signal });
    await user.says('Hands over');
    controller.abort('SIGTERM');
    (await taken)[Symbol.dispose]();
  });

  it('is waited for longer once the handover has begun', async (t) => {
    const path = join(directory, 'slow');
    const user = await startUser(t, path, {}, 1000);
    const taken = openRoot(path, { takeover: true, handoverMs: 300 });
    await user.says('Hands over');
    (await taken)[Symbol.dispose]();
  });

  it('is waited for as long as it takes, even if the clock is set', async (t) => {
    const path = join(directory, 'clock');
    const user = await startUser(t, path);
    user.kill('SIGSTOP');
    const taken = openRoot(path, { takeover: true });
    for (let waited = 0; !existsSync(join(path, 'handover')); waited += 10) {
      assert.ok(waited < 20_000);
      await delay(10);
    }
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 24 * 3600 * 1000 });
    await delay(100);
    user.kill('SIGCONT');
    (await taken)[Symbol.dispose]();
  });

  it('says which directory cannot be made', async () => {
    const path = join(directory, 'file', 'root');
    writeFileSync(join(directory, 'file'), '');
    await assert.rejects(openRoot(path), { message: `Cannot make the root directory "${path}"` });
  });
});

/** A process that has a root, or wants it, and hands it over `slowMs` after it was asked to. */
async function startUser(t: TestContext, path: string, options: RootOptions = {}, slowMs = 0) {
  const source = (name: string) => new URL(`../../../src/state/${name}.ts`, import.meta.url).href;
  const script = `
    import { openRoot } from '${source('root')}';
    import { acceptsHandover } from '${source('handover')}';
    let root;
    process.on('SIGUSR2', () => {
      if (!acceptsHandover('${path}', { warn: (_, message) => console.log(message) })) return;
      console.log('Hands over');
      setTimeout(() => root[Symbol.dispose](), ${slowMs});
    });
    setInterval(() => undefined, 1000);
    console.log('asks');
    root = await openRoot('${path}', ${JSON.stringify(options)});
    console.log('has it');`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const says = async (text: string) => {
    for (let waited = 0; !output.includes(text); waited += 10) {
      assert.ok(waited < 20_000, `It does not say "${text}", but "${output}"`);
      await delay(10);
    }
  };
  await says(options.takeover === true ? 'asks' : 'has it');
  return Object.assign(child, { says });
}

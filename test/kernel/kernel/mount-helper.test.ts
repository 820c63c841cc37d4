import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, read } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { requestBytes } from '../../../src/fuse/abi.ts';
import { MountHelper } from '../../../src/kernel/mount-helper.ts';
import { silentLog } from '../../../src/log.ts';
import { mountSilentFuse } from '../../support/silent-fuse.ts';
import { until } from '../../support/until.ts';

const maxEndMs = 10_000;

async function workDirectory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'lazypull-helper-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

test('A process that is killed while its mount waits for a file system without a server ends; the next helper waits for that mount', async (t) => {
  const directory = await workDirectory(t);
  const [target, lock] = [join(directory, 'target'), join(directory, 'lock')];
  await mkdir(target);
  const { fd, root } = await mountSilentFuse();
  const module = JSON.stringify(new URL('../../../src/kernel/mount-helper.ts', import.meta.url).href);
  const script = `
    const { MountHelper, helperRoot } = await import(${module});
    const [lock, target] = process.argv.slice(1);
    await new MountHelper(lock, 3).mountImage('erofs', helperRoot + '/layer', target).catch(() => undefined);`;
  const program = spawn(process.execPath, ['-e', script, lock, target], {
    stdio: ['ignore', 'inherit', 'inherit', root],
  });
  closeSync(root);
  const ended = once(program, 'exit');
  await promisify(read)(fd, Buffer.alloc(requestBytes), 0, requestBytes, null); // the mount asks for "layer"
  program.kill('SIGKILL');
  const next = new MountHelper(lock);
  t.after(() => next.close());
  try {
    const [, signal] = await Promise.race([ended, delay(maxEndMs, [undefined, 'nothing yet'], { ref: false })]);
    assert.equal(signal, 'SIGKILL');
    const state = await Promise.race([next.ready.then(() => 'ready'), delay(500, 'waits')]);
    assert.equal(state, 'waits');
  } finally {
    closeSync(fd);
  }
  await next.ready;
});

test('What the helper cannot do is an error with its reason, and a helper that was killed is started again', async (t) => {
  const directory = await workDirectory(t);
  const helper = new MountHelper(join(directory, 'lock'));
  t.after(() => helper.close());
  await writeFile(join(directory, 'file'), 'no image');
  await assert.rejects(helper.mountImage('erofs', join(directory, 'file'), directory), {
    code: 'Unavailable',
    message: /Cannot mount the EROFS image ".*file"/,
  });
  assert.equal(await helper.exists(join(directory, 'file')), true);
  const [pid] = await childrenOf(process.pid);
  process.kill(pid!, 'SIGKILL');
  await until(async () => !(await childrenOf(process.pid)).includes(pid!));
  assert.equal(await helper.exists(join(directory, 'none')), false);
  await mkdir(join(directory, 'empty'));
  assert.equal(await helper.unmountAll(join(directory, 'empty')), false);
  assert.equal(await helper.exists(join(directory, 'empty')), false);
});

test('Signals for all processes of a program leave the helper alone, and it ends when it is closed', async (t) => {
  const helper = new MountHelper(join(await workDirectory(t), 'lock'));
  await helper.ready;
  const [pid] = await childrenOf(process.pid);
  await helper.exists('/');
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid!, signal);
  assert.equal(await helper.exists('/'), true);
  await helper.close();
  assert.deepEqual(await childrenOf(process.pid), []);
  await assert.rejects(helper.exists('/'), /was closed/);
});

async function childrenOf(pid: number): Promise<number[]> {
  const list = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return list.split(' ').filter(Boolean).map(Number);
}

/** The one process that this one has started and that runs. */
async function helperPid(): Promise<number> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8');
  for (const pid of children.split(' ').filter(Boolean)) {
    if ((await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes('mount-helper-process')) return Number(pid);
  }
  assert.fail('No helper runs');
}

test('A helper that does not answer is killed, and another one does what it was asked for', {
  timeout: 60_000,
}, async (t) => {
  const directory = await workDirectory(t);
  const helper = new MountHelper(join(directory, 'lock'), undefined, silentLog, 3000);
  await helper.ready;
  const stopped = await helperPid();
  process.kill(stopped, 'SIGSTOP');
  assert.deepEqual(await Promise.all([helper.exists(directory), helper.exists(join(directory, 'x'))]), [true, false]);
  const next = await helperPid();
  assert.notEqual(next, stopped);
  process.kill(next, 'SIGSTOP');
  await helper.close();
});

test('MountHelper tells of each change of the mount table soon, of many at once, and goes on when it was killed', async (t) => {
  const directory = await workDirectory(t);
  const helper = new MountHelper(join(directory, 'lock'));
  t.after(() => helper.close());
  await helper.exists(directory);
  let told = 0;
  helper.onMountsChanged(() => told++);
  const change = () => execFileSync('sh', ['-c', `mount -t tmpfs none ${directory} && umount ${directory}`]);
  const isTold = async (): Promise<void> => {
    const before = told;
    change();
    await until(() => told > before);
  };
  for (let i = 0; i < 20; i++) await isTold();
  const before = told;
  const script = `for i in $(seq 200); do mount -t tmpfs none ${directory} && umount ${directory}; done`;
  execFileSync('sh', ['-c', script]);
  await isTold();
  assert.ok(told - before < 200, `told ${told - before} times`);
  process.kill(await helperPid(), 'SIGKILL');
  const known = told;
  await until(() => {
    change(); // another helper is there when it tells of a change again
    return told > known;
  }, 'another helper tells of a change');
  assert.equal(await helper.exists(directory), true);
});

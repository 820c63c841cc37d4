import assert from 'node:assert/strict';
import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { listenerPid } from '../../../src/kernel/unix-socket.ts';
import { SnapshotsClient } from '../../support/snapshots-client.ts';
import { repository, systemTool } from '../../support/tools.ts';
import { mountsBelow, Workspace } from '../../support/workspace.ts';
import { until } from '../../support/until.ts';

const daemonProgram = join(repository, 'bin', 'containerd-stargz-grpc');

let workspace: Workspace;

before(async () => {
  workspace = await Workspace.open('log');
});
after(() => workspace[Symbol.asyncDispose]());

/** Starts a program that the kernel kills if we die; the test's end kills it too, and all of its session. */
function start(t: TestContext, command: readonly string[], stdio: StdioOptions): ChildProcess {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...command], { stdio, detached: true });
  t.after(() => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // It has ended, as it should.
    }
  });
  return child;
}

/** The command line of a daemon of its own, and what is known of it. */
async function daemon(name: string) {
  const directory = await workspace.directory(name);
  const socket = join(directory, 's');
  return { directory, socket, args: ['--address', socket, '--root', join(directory, 'root'), '--log-level', 'debug'] };
}

/** Has the daemon write more than any pipe takes, and sees to it that it answers all the same. */
async function logsAndAnswers(socket: string): Promise<number> {
  const pid = await until(() => listenerPid(socket), 'the daemon does not serve');
  using client = new SnapshotsClient(socket);
  for (let i = 0; i < 100; i++) {
    process.kill(pid, 'SIGUSR1'); // a report is a long line
    await client.cleanup();
  }
  return pid;
}

async function endsWell(child: ChildProcess, pid: number, directory: string): Promise<void> {
  const exit = once(child, 'exit');
  process.kill(pid, 'SIGTERM');
  assert.deepEqual(await exit, [0, null]);
  assert.deepEqual(await mountsBelow(directory), []);
}

test('A log that cannot be written keeps the daemon from nothing: a full disk', async (t) => {
  const { directory, socket, args } = await daemon('full');
  const full = openSync('/dev/full', 'w');
  const child = start(t, [daemonProgram, ...args], ['ignore', 'ignore', full]);
  closeSync(full);
  await endsWell(child, await logsAndAnswers(socket), directory);
});

test('A log that cannot be written keeps the daemon from nothing: a pipe that is not read', async (t) => {
  const { directory, socket, args } = await daemon('unread');
  const command = '"$@" 2>&1 >/dev/null | exec sleep 600';
  start(t, ['sh', '-c', command, 'sh', daemonProgram, ...args], 'ignore');
  const pid = await logsAndAnswers(socket);
  process.kill(pid, 'SIGTERM');
  await until(() => isGone(pid), 'the daemon goes on');
  assert.deepEqual(await mountsBelow(directory), []);
});

test('A log that cannot be written keeps the daemon from nothing: the reader of a socket has gone', async (t) => {
  const { directory, socket, args } = await daemon('gone');
  const child = start(t, [daemonProgram, ...args], ['ignore', 'ignore', 'pipe']);
  await until(() => listenerPid(socket), 'the daemon does not serve');
  child.stderr!.destroy();
  await endsWell(child, await logsAndAnswers(socket), directory);
});

test('A daemon whose terminal is closed unmounts and ends', async (t) => {
  const { directory, socket, args } = await daemon('terminal');
  const command = `exec '${daemonProgram}' ${args.map((arg) => `'${arg}'`).join(' ')}`;
  const child = start(t, [systemTool('script'), '-qfc', command, '/dev/null'], 'ignore');
  const pid = await logsAndAnswers(socket);
  child.kill('SIGKILL');
  await until(() => isGone(pid), 'the daemon goes on');
  assert.deepEqual(await mountsBelow(directory), []);
  assert.equal(await listenerPid(socket), undefined);
});

test('A daemon under nohup, or without a terminal, goes on at SIGHUP', async (t) => {
  for (const prefix of [[], ['nohup']]) {
    const { directory, socket, args } = await daemon(`hup-${prefix.length}`);
    const log = join(directory, 'log');
    const fd = openSync(log, 'a');
    const child = start(t, [...prefix, daemonProgram, ...args], ['ignore', fd, fd]);
    closeSync(fd);
    const pid = await until(() => listenerPid(socket), 'the daemon does not serve');
    process.kill(pid, 'SIGHUP');
    await until(() => readFileSync(log, 'utf8').includes('config.toml is read only at the start'));
    using client = new SnapshotsClient(socket);
    await client.cleanup();
    await endsWell(child, pid, directory);
  }
});

function isGone(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
}

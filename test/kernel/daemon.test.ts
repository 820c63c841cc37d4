import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { mountsBelow } from '../../src/kernel/mount.ts';
import { until } from '../support/until.ts';
import { keepersBelow } from '../support/workspace.ts';

const main = fileURLToPath(new URL('../../src/bin/containerd-stargz-grpc.ts', import.meta.url));
const skip = process.geteuid?.() === 0 ? false : 'needs root';

/** A daemon, its log so far, and how it ends. */
class Daemon {
  readonly process: ChildProcess;
  readonly ended: Promise<[number | null, NodeJS.Signals | null]>;
  #text = '';

  constructor(args: string[], env: Record<string, string> = {}) {
    this.process = spawn(process.execPath, [main, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.process.stderr?.on('data', (data: Buffer) => (this.#text += data.toString()));
    this.ended = once(this.process, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  }

  get log(): Record<string, unknown>[] {
    return this.#text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** The first line with `message`, once it is there. */
  async line(message: string): Promise<Record<string, unknown>> {
    const look = () => {
      const line = this.log.find((candidate) => candidate.msg === message);
      if (line === undefined) assert.equal(this.process.exitCode, null, this.#text);
      return line;
    };
    return until(look, () => `no line "${message}" in:\n${this.#text}`);
  }
}

describe('The daemon', { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-daemon-'));
  const root = join(directory, 'root');
  const socket = join(directory, 'run', 'lp.sock');
  const args = [`-address=${socket}`, '--root', root, '--log-level', 'debug'];
  const running: Daemon[] = [];

  const start = (...parameters: ConstructorParameters<typeof Daemon>) => {
    const daemon = new Daemon(...parameters);
    running.push(daemon);
    return daemon;
  };

  afterEach(async () => {
    for (const daemon of running.splice(0)) {
      if (daemon.process.exitCode === null && daemon.process.signalCode === null) daemon.process.kill('SIGTERM');
      await daemon.ended;
    }
  });
  after(() => rmSync(directory, { recursive: true }));

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`serves for its owner alone, and leaves nothing behind at ${signal}`, async () => {
      const daemon = start(args);
      await daemon.line('lazypull is ready');
      assert.equal(statSync(socket).mode & 0o777, 0o600);
      assert.equal(statSync(join(directory, 'run')).mode & 0o777, 0o700);
      assert.equal(statSync(root).mode & 0o777, 0o700);
      assert.deepEqual(await mountsBelow(root), []);
      assert.equal((await keepersBelow(directory)).length, 1);
      daemon.process.kill(signal);
      assert.deepEqual(await daemon.ended, [0, null]);
      assert.ok(!existsSync(socket));
      assert.deepEqual(await mountsBelow(root), []);
      assert.deepEqual(await keepersBelow(directory), []);
      rmSync(root, { recursive: true });
    });
  }

  it('bears connections that say nothing or nonsense', async () => {
    const daemon = start(args);
    await daemon.line('lazypull is ready');
    for (let i = 0; i < 40; i++) await knock(i % 2 === 0 ? undefined : 'GET / HTTP/1.1\r\n\r\n');
    await delay(200);
    daemon.process.kill('SIGTERM');
    assert.deepEqual(await daemon.ended, [0, null]);
  });

  it('refuses the socket and the root of a living one and names its pid', async () => {
    const first = start(args);
    await first.line('lazypull is ready');
    const sameSocket = start([`-address=${socket}`, '--root', join(directory, 'other')]);
    assert.deepEqual(await sameSocket.ended, [1, null]);
    assert.match(String(sameSocket.log.at(-1)?.error), new RegExp(`process ${first.process.pid} already serves`));
    const sameRoot = start(['--address', join(directory, 'other.sock'), '--root', root]);
    assert.deepEqual(await sameRoot.ended, [1, null]);
    assert.match(String(sameRoot.log.at(-1)?.error), new RegExp(`process ${first.process.pid} uses it`));
    assert.ok(existsSync(socket));
  });

  it('takes the place of one that was killed', async () => {
    const killed = start(args);
    await killed.line('lazypull is ready');
    killed.process.kill('SIGKILL');
    await killed.ended;
    assert.ok(existsSync(socket));
    const next = start(args);
    await next.line('lazypull is ready');
    next.process.kill('SIGTERM');
    assert.deepEqual(await next.ended, [0, null]);
    assert.deepEqual(await mountsBelow(root), []);
  });

  it('refuses to give a client the snapshots of another one when addresses come in another order', async () => {
    const [a, b] = ['a', 'b'].map((name) => join(directory, 'run', `${name}.sock`));
    const own = join(directory, 'ordered');
    const inOrder = (...addresses: string[]) => [...addresses.flatMap((each) => ['--address', each]), '--root', own];
    const first = start(inOrder(a!, b!));
    const { clients } = await first.line('lazypull is ready');
    assert.deepEqual(clients, { default: a, b });
    assert.ok(existsSync(a!) && existsSync(b!));
    first.process.kill('SIGTERM');
    assert.deepEqual(await first.ended, [0, null]);
    assert.ok(!existsSync(a!) && !existsSync(b!));
    for (const wrong of [inOrder(b!, a!), inOrder(b!)]) {
      const refused = start(wrong);
      assert.deepEqual(await refused.ended, [1, null]);
      assert.match(String(refused.log.at(-1)?.error), /b\.sock" as the first client: it was another one before/);
    }
    const alone = start(inOrder(a!));
    await alone.line('lazypull is ready');
    assert.equal(
      (await alone.line('keeping the snapshots of a client that is not served: remove them if it is gone')).client,
      'b',
    );
  });

  it('tells the service manager when it is ready and when it stops', async () => {
    const path = join(directory, 'notify.sock');
    const receive = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    text = s.recv(4096).decode()
    print(text, flush=True)
    if "STOPPING" in text: break
`;
    const manager = spawn('python3', ['-c', receive, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(manager, 'close');
    let text = '';
    manager.stdout.on('data', (data: Buffer) => (text += data.toString()));
    await once(manager.stdout, 'data');
    const daemon = start(args, { NOTIFY_SOCKET: path });
    await daemon.line('lazypull is ready');
    daemon.process.kill('SIGTERM');
    await daemon.ended;
    await ended;
    assert.match(text, /^bound\nREADY=1\n[^]*STOPPING=1\n/);
  });

  it('writes a report to the log at SIGUSR1 and goes on', async () => {
    const daemon = start(args);
    await daemon.line('lazypull is ready');
    daemon.process.kill('SIGUSR1');
    const { report } = (await daemon.line('Report')) as { report: Record<string, unknown> };
    assert.ok('memory' in report && 'active' in report);
    assert.ok(!JSON.stringify(report).includes('PATH'));
    daemon.process.kill('SIGTERM');
    assert.deepEqual(await daemon.ended, [0, null]);
  });

  it('logs why it cannot serve and ends with 1', async () => {
    const daemon = start(['--address', '/proc/1/lp.sock', '--root', root]);
    assert.deepEqual(await daemon.ended, [1, null]);
    const last = daemon.log.at(-1);
    assert.equal(last?.level, 'fatal');
    assert.deepEqual(await mountsBelow(root), []);
  });

  async function knock(text: string | undefined): Promise<void> {
    const connection = connect(socket);
    connection.on('error', () => undefined);
    await once(connection, 'connect');
    if (text !== undefined) connection.write(text);
    connection.destroy();
  }
});

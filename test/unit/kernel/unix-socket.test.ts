import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { isListening, listenAt, listenerPid, sendDatagram } from '../../../src/kernel/unix-socket.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-unix-'));
after(() => rmSync(directory, { recursive: true }));

describe('listenerPid', () => {
  it('is the pid of the process that listens', async () => {
    const path = join(directory, 'a.sock');
    const server = createServer().listen(path);
    await once(server, 'listening');
    assert.equal(await listenerPid(path), process.pid);
    server.close();
    await once(server, 'close');
    assert.equal(await listenerPid(path), undefined);
  });

  it('refuses a path that the kernel cannot take, and says how long it may be', async () => {
    await assert.rejects(listenerPid(`/${'x'.repeat(107)}`), /1 to 107 bytes/);
    await assert.rejects(listenerPid(''), /1 to 107 bytes/);
    assert.equal(await listenerPid(`/${'x'.repeat(106)}`), undefined);
  });
});

describe('listenAt', () => {
  it('listens for its owner alone, and refuses a place that is taken', async () => {
    const path = join(directory, 'l.sock');
    const fd = await listenAt(path);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(await listenerPid(path), process.pid);
    assert.equal(await isListening(fd), true);
    await assert.rejects(listenAt(path), { message: `Cannot listen at "${path}"` });
    closeSync(fd);
    assert.equal(await listenerPid(path), undefined);
  });

  it('is told apart from other descriptors', async () => {
    const fd = openSync('/dev/null', 'r');
    assert.equal(await isListening(fd), false);
    closeSync(fd);
    assert.equal(await isListening(fd), false);
  });
});

/** Node cannot receive unix datagrams, so Python does. */
const receiver = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\\0", 1))
print("bound", flush=True)
print(s.recv(4096).decode(), end="", flush=True)
`;
const python = spawnSync('python3', ['--version']).error === undefined;

describe('sendDatagram', { skip: python ? false : 'python3 is missing' }, () => {
  for (const [kind, path] of [
    ['a path', join(directory, 'd.sock')],
    ['an abstract name', `@lazypull-test-${process.pid}`],
  ] as const) {
    it(`reaches ${kind}`, async () => {
      const child = spawn('python3', ['-c', receiver, path], { stdio: ['ignore', 'pipe', 'inherit'] });
      const closed = once(child, 'close');
      let text = '';
      child.stdout.on('data', (data: Buffer) => (text += data.toString()));
      await once(child.stdout, 'data');
      await sendDatagram(path, 'READY=1\nSTATUS=Serving');
      await closed;
      assert.equal(text, 'bound\nREADY=1\nSTATUS=Serving');
    });
  }
});

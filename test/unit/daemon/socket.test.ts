import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { clearSocket } from '../../../src/daemon/socket.ts';

describe('clearSocket', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-socket-'));
  after(() => rmSync(directory, { recursive: true }));

  it('makes a missing directory that only its owner may enter', async () => {
    await clearSocket(join(directory, 'run', 'x.sock'));
    assert.equal(statSync(join(directory, 'run')).mode & 0o777, 0o700);
  });

  it('removes the socket that a dead process left', async () => {
    const path = join(directory, 'dead.sock');
    const listen = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await once(spawn(process.execPath, ['-e', listen]), 'exit');
    assert.ok(existsSync(path));
    await clearSocket(path);
    assert.ok(!existsSync(path));
  });

  it('refuses a living socket with the pid of its process', async () => {
    const path = join(directory, 'living.sock');
    const server = await listening(path);
    await assert.rejects(clearSocket(path), {
      code: 'FailedPrecondition',
      message: new RegExp(`process ${process.pid} already serves`),
    });
    assert.ok(existsSync(path));
    server.close();
  });

  it('refuses to remove what is not a socket', async () => {
    const path = join(directory, 'file');
    writeFileSync(path, 'precious');
    await assert.rejects(clearSocket(path), /not a socket/);
    assert.ok(existsSync(path));
  });
});

async function listening(path: string): Promise<Server> {
  const server = createServer().listen(path);
  await once(server, 'listening');
  return server;
}

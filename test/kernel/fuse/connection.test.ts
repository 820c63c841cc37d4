import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, readSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import {
  initReply,
  opcodes,
  readInit,
  readRequestHeader,
  requestBytes,
  type RequestHeader,
} from '../../../src/fuse/abi.ts';
import {
  inheritConnection,
  type HeldConnection,
  openConnection,
  resendRequests,
} from '../../../src/fuse/connection.ts';
import { FuseServer } from '../../../src/fuse/fuse-server.ts';
import { abortDetached, isDisconnected } from '../../../src/kernel/detached-mount.ts';
import { silentLog } from '../../../src/log.ts';

const nobody = (): Promise<never> => Promise.reject(new Error('no such file'));

async function opened(): Promise<HeldConnection & { root: number }> {
  const connection = await openConnection();
  new FuseServer(connection, nobody, nobody, silentLog); // answers the first request; ends with the connection
  return connection;
}

const inherit = (kept: HeldConnection) => inheritConnection(tmpdir(), kept, silentLog);

test('What holds for the time to answer of an inherited connection is what held when it was made', async () => {
  for (const [kept, found] of [
    [42_000, 42_000],
    [0, undefined],
  ]) {
    const { fd, name, root } = await opened();
    const inherited = await inherit({ fd, name, root, answerWithinMs: kept });
    assert.equal(inherited?.answerWithinMs, found);
    closeSync(root);
  }
});

test('A request that a dying process took is sent again once that is asked for', async () => {
  const connection = await openConnection();
  const { fd, root } = connection;
  const request = Buffer.alloc(requestBytes);
  const taken = (): RequestHeader => {
    readSync(fd, request, 0, request.length, null);
    return readRequestHeader(request);
  };
  const { opcode, unique } = taken();
  assert.equal(opcode, opcodes.init);
  writeSync(fd, initReply(unique, readInit(request)));
  const child = spawn('stat', ['/proc/self/fd/3/file'], { stdio: ['ignore', 'ignore', 'pipe', root] });
  const ended = once(child, 'close');
  let said = '';
  child.stderr!.on('data', (part: Buffer) => (said += part.toString()));
  while (taken().opcode !== opcodes.lookup); // by a thread that will not answer
  resendRequests(connection);
  new FuseServer(connection, nobody, nobody, silentLog);
  assert.deepEqual(await ended, [1, null]);
  assert.match(said, /No such file or directory/);
  await abortDetached(root);
  closeSync(root);
  resendRequests(connection);
});

test('A connection is not gone on with by the root directory of another one, and ends', async () => {
  const [one, another] = [await opened(), await openConnection()];
  assert.equal(isDisconnected(one.fd), false);
  assert.equal(await inherit({ fd: another.fd, name: one.name, root: one.root }), undefined);
  assert.equal(isDisconnected(one.fd), true);
  closeSync(another.root);
});

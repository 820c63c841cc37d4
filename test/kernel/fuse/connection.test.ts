import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { inheritConnection, type HeldConnection, openConnection } from '../../../src/fuse/connection.ts';
import { FuseServer } from '../../../src/fuse/fuse-server.ts';
import { isDisconnected } from '../../../src/kernel/detached-mount.ts';
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

test('A connection is not gone on with by the root directory of another one, and ends', async () => {
  const [one, another] = [await opened(), await openConnection()];
  assert.equal(isDisconnected(one.fd), false);
  assert.equal(await inherit({ fd: another.fd, name: one.name, root: one.root }), undefined);
  assert.equal(isDisconnected(one.fd), true);
  closeSync(another.root);
});

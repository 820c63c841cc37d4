import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ClientSockets } from '../../../src/daemon/client-sockets.ts';
import { boundPath, listenerPid } from '../../../src/kernel/unix-socket.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-sockets-'));
after(() => rmSync(directory, { recursive: true }));
const client = (name: string) => ({ name, address: join(directory, `${name}.sock`) });

test('ClientSockets gives each client a socket, keeps those of an earlier life, and closes those of no client', async () => {
  const [a, b, c] = [client('a'), client('b'), client('c')];
  const first = await ClientSockets.claim([a, b], {}, []);
  await first.open();
  const kept = [...first.own];
  assert.deepEqual(
    kept.map(({ path }) => path),
    [a.address, b.address],
  );

  const second = await ClientSockets.claim([c, b], {}, kept);
  assert.equal(existsSync(a.address), false);
  assert.equal(await boundPath(second.descriptor(b)), b.address);
  assert.throws(() => second.descriptor(c), { code: 'Unavailable' });
  await second.open();
  assert.equal(second.descriptor(b), kept[1]!.fd);
  assert.equal(await listenerPid(c.address), process.pid);

  second.remove();
  assert.deepEqual(
    [b, c].map(({ address }) => existsSync(address)),
    [false, false],
  );
  for (const each of [b, c]) closeSync(second.descriptor(each));
});

test('ClientSockets opens a socket again if another one has replaced its file', async () => {
  const a = client('a');
  const first = await ClientSockets.claim([a], {}, []);
  await first.open();
  rmSync(a.address);
  const second = await ClientSockets.claim([a], {}, first.own);
  await second.open();
  assert.equal(await listenerPid(a.address), process.pid);
  second.remove();
  closeSync(second.descriptor(a));
});

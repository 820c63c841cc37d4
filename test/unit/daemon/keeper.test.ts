import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { endKeeper, Keeper, keeperOf, keptAddresses, type Kept } from '../../../src/daemon/keeper.ts';
import { recordPath } from '../../../src/daemon/keeper-record.ts';
import { isListening } from '../../../src/kernel/unix-socket.ts';
import { openSocket } from '../../../src/daemon/socket.ts';
import { type Log, silentLog } from '../../../src/log.ts';
import { until } from '../../support/until.ts';

/** A root, and something to keep: a listening socket, and a descriptor in place of that of a connection. */
async function setUp(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), 'lazypull-keeper-'));
  const lines: string[] = [];
  const log: Log = { ...silentLog, warn: (_, message) => void lines.push(message) };
  const fd = openSync('/dev/null', 'r+');
  const socket = await openSocket(join(root, 'socket'));
  const kept: Kept = { fuse: { name: `lazypull-${'a'.repeat(16)}`, fd, root: undefined }, sockets: [socket] };
  t.after(async () => {
    await endKeeper(root);
    closeSync(fd);
    closeSync(socket.fd);
    rmSync(root, { recursive: true });
  });
  return { root, log, lines, kept, open: () => Keeper.open(root, log) };
}

test('Keeper.keep holds descriptors in a process that the next life finds', async (t) => {
  const { root, lines, kept, open } = await setUp(t);
  const first = await open();
  assert.equal(first.isRunning, false);
  await first.keep(kept);
  assert.ok(first.isRunning);
  assert.deepEqual(await keptAddresses(root), [join(root, 'socket')]);
  const pid = await keeperOf(root);

  const next = await open();
  assert.ok(next.isRunning);
  const [socket] = next.kept!.sockets;
  assert.notEqual(socket!.fd, kept.sockets[0]!.fd);
  assert.ok(await isListening(socket!.fd));
  assert.equal(next.kept!.fuse.name, kept.fuse.name);
  await next.keep(next.kept!);
  assert.equal(await keeperOf(root), pid, 'the same things need no other keeper');
  assert.deepEqual(lines, []);
  closeSync(socket!.fd);
  closeSync(next.kept!.fuse.fd);
  await Promise.all([first.end(), next.end()]);
});

test('Keeper.end ends the process and removes its record', async (t) => {
  const { root, kept, open } = await setUp(t);
  const keeper = await open();
  await keeper.keep(kept);
  await keeper.end();
  assert.equal(keeper.isRunning, false);
  assert.equal(existsSync(recordPath(root)), false);
  await keeper.keep(kept);
  assert.equal(keeper.isRunning, false, 'nothing is kept after the end');
});

test('Keeper starts another process if its own has ended', async (t) => {
  const { root, lines, kept, open } = await setUp(t);
  const keeper = await open();
  await keeper.keep(kept);
  const pid = (await keeperOf(root))!;
  process.kill(pid, 'SIGKILL');
  const next = await until(async () => {
    const found = await keeperOf(root);
    return found !== pid && found;
  });
  assert.ok(next > 0);
  assert.deepEqual(lines, ['the keeper of the mounts has ended: starting another one']);
  await keeper.end();
});

test('Keeper.open ends a keeper whose record is damaged', async (t) => {
  const { root, lines, kept, open } = await setUp(t);
  await (await open()).keep(kept);
  writeFileSync(recordPath(root), 'nonsense');
  const keeper = await open();
  assert.equal(keeper.kept, undefined);
  assert.equal(await keeperOf(root), undefined);
  assert.deepEqual(lines, [
    'the record of the keeper is damaged: mounting everything again',
    'ending a keeper that no record names: readers that wait for it get errors',
  ]);
});

import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { instanceAt, ownPlaces } from '../../../src/buildkit/places.ts';
import { firstServed, whichDaemon } from '../../../src/cli/which-daemon.ts';
import { defaults } from '../../../src/config/load.ts';
import { listenAt } from '../../../src/kernel/unix-socket.ts';

const env = { LAZYPULL_HOME: '/nonexistent/home' };

test('A command is about the daemon of its flags, or of the environment', async () => {
  const { address, root } = defaults;
  assert.deepEqual(await whichDaemon({ address: '/a.sock' }, env), { address: '/a.sock', root });
  assert.deepEqual(await whichDaemon({ root: '/r' }, env), { address, root: '/r' });
  const named = { ...env, LAZYPULL_ADDRESS: '/b.sock', LAZYPULL_ROOT: '/s' };
  assert.deepEqual(await whichDaemon({}, named), { address: '/b.sock', root: '/s' });
});

test('The socket of a daemon of lazypull buildkitd is enough to find its root', async () => {
  const { snapshotter } = ownPlaces(env);
  assert.deepEqual(await whichDaemon({ address: snapshotter }, env), instanceAt(snapshotter, env));
  const root = '/nonexistent/home/roots/nonexistent-home-run-lazypull-buildkitd-snapshotter.sock';
  assert.equal(instanceAt(snapshotter, env).root, root);
});

test('Of several daemons it is the first that serves, and the first of all where none does', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-which-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const [first, second, third] = ['a', 'b', 'c'].map((name) => ({ address: join(directory, name), root: name }));
  assert.equal(await firstServed([first!, second!, third!]), first);
  const fds = [await listenAt(second!.address), await listenAt(third!.address)];
  assert.equal(await firstServed([first!, second!, third!]), second);
  assert.equal(await firstServed([third!, second!, first!]), third);
  fds.forEach(closeSync);
  const tooLong = { address: join(directory, 'x'.repeat(200)), root: 'x' };
  assert.equal(await firstServed([first!, tooLong]), first);
});

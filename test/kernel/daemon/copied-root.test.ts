import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { logged, startDaemon, hasInherited } from '../../support/daemon.ts';
import { run } from '../../support/program.ts';
import { keepersBelow, mountsBelow, Workspace } from '../../support/workspace.ts';
import { until } from '../../support/until.ts';

test('A daemon on a copy of a root that is in use leaves the original, its keeper and its clients alone', async () => {
  await using workspace = await Workspace.open('copied');
  const [one, two] = [join(workspace.path, 'one'), join(workspace.path, 'two')];
  await using original = await startDaemon(one);
  await logged(original, 'lazypull is ready');
  const [keeper] = await keepersBelow(one);
  assert.ok(keeper !== undefined);
  await run('sh', ['-c', 'cp -ax "$0" "$1" || true', one, two]); // a file may go meanwhile
  {
    await using copy = await startDaemon(two);
    await logged(copy, 'lazypull is ready');
    assert.equal(await hasInherited(copy), false);
    assert.deepEqual(await keepersBelow(one), [keeper]);
    assert.equal((await keepersBelow(two)).length, 1);
  }
  assert.deepEqual(await mountsBelow(two), []);
  process.kill(original.program.pid, 'SIGKILL');
  await original.program.ended;
  await using next = await startDaemon(one);
  await logged(next, 'lazypull is ready');
  assert.equal(await hasInherited(next), true);
});

test('A keeper that cannot be written down is ended', async () => {
  await using workspace = await Workspace.open('copied');
  const path = join(workspace.path, 'one');
  await using daemon = await startDaemon(path);
  await logged(daemon, 'lazypull is ready');
  const [keeper] = await keepersBelow(path);
  await run('mkdir', [join(daemon.root, 'keeper.json.new')]);
  process.kill(keeper!, 'SIGKILL');
  await logged(daemon, 'cannot start a keeper');
  assert.deepEqual(await keepersBelow(path), []);
  await run('rmdir', [join(daemon.root, 'keeper.json.new')]);
  await until(async () => (await keepersBelow(path)).length > 0, 'there is no keeper again');
});

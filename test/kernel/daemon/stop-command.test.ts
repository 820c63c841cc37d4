import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { tryRun } from '../../support/program.ts';
import { repository } from '../../support/tools.ts';
import { until } from '../../support/until.ts';
import { keepersBelow, mountsBelow } from '../../support/workspace.ts';

let lab: LayerLab;

beforeEach(async () => {
  lab = await LayerLab.open();
});
afterEach(() => lab[Symbol.asyncDispose]());

const lazypull = (...args: string[]) => tryRun(join(repository, 'bin', 'lazypull'), args, {});

/** A layer that is mounted by the daemon, and by no other process. */
async function mountLayer(): Promise<void> {
  const layer = lab.layer(estargzBlob([{ path: 'file', type: 'reg', content: randomBytes(1 << 20) }], 1 << 20));
  const directory = await lab.mount(await lab.prepare([layer]));
  await readFile(join(directory, 'file'));
  await lab.unmount(directory);
  assert.ok((await mountsBelow(lab.root)).length > 0);
}

async function assertNothingLeft(): Promise<void> {
  assert.deepEqual(await mountsBelow(lab.root), []);
  assert.deepEqual(await keepersBelow(lab.workspace.path), []);
  assert.ok(!existsSync(lab.socket) && !existsSync(join(lab.root, 'keeper.json')));
}

test('lazypull stop ends the daemon at an address, with its mounts, its socket and its keeper, and says so', async () => {
  await mountLayer();
  const { pid } = lab.daemon.program;
  const { status, stdout, stderr } = await lazypull('stop', '--address', lab.socket);
  assert.deepEqual([status, stdout], [0, ''], stderr);
  await assertNothingLeft();
  await lab.daemon.program.ended;
  assert.equal(lab.daemon.program.outcome, 'ended with status 0');
  assert.ok(stderr.includes(`lazypull: Stopped the daemon at "${lab.socket}", process ${pid}\n`), stderr);
  assert.ok(stderr.includes(`Nothing of it is mounted any more; what it fetched is kept in "${lab.root}"\n`), stderr);
  const again = await lazypull('stop', '--root', lab.root);
  assert.equal(again.status, 1);
  assert.match(again.stderr, /^lazypull: No daemon serves ".*" or has the root ".*": nothing to stop\n/);
});

test('lazypull stop ends the keeper of a daemon that was killed, and takes away what that had mounted', async () => {
  await mountLayer();
  await lab.daemon.program.stop('SIGKILL');
  assert.equal((await keepersBelow(lab.workspace.path)).length, 1);
  const link = join(lab.workspace.path, 'link');
  await symlink(lab.root, link);
  const { status, stderr } = await lazypull('stop', '--root', link);
  assert.equal(status, 0, stderr);
  await assertNothingLeft();
  assert.ok(stderr.includes(`No daemon ran at "${lab.socket}": ended the keeper of one that was killed`), stderr);
  await lab.restart('SIGKILL');
  // The keeper is a shell, which has another command line until it begins.
  await until(async () => (await keepersBelow(lab.workspace.path)).length === 1);
});

test('lazypull stop ends the keeper of a daemon that was killed, even if its record is lost', async () => {
  await mountLayer();
  await lab.daemon.program.stop('SIGKILL');
  await rm(join(lab.root, 'keeper.json'));
  const { status, stderr } = await lazypull('stop', '--root', lab.root, '--address', lab.socket);
  assert.equal(status, 0, stderr);
  assert.deepEqual(await keepersBelow(lab.workspace.path), []);
  assert.ok(stderr.includes('ended the keeper of one that was killed'), stderr);
  await lab.restart('SIGKILL');
});

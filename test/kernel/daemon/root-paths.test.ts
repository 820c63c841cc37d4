import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { mountTable } from '../../../src/kernel/mount.ts';
import { type Daemon, launchDaemon, logged, hasInherited } from '../../support/daemon.ts';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import { repository } from '../../support/tools.ts';
import { keepersBelow, mountsBelow, Workspace } from '../../support/workspace.ts';

const content = randomBytes(3 << 20);
const lazypull = join(repository, 'bin', 'lazypull');

/** Ways to have a root elsewhere than its path says. */
const ways: Record<string, (root: string, elsewhere: string) => Promise<void>> = {
  'a symlink': async (root, elsewhere) => {
    await mkdir(dirname(root), { recursive: true });
    await symlink(elsewhere, root);
  },
  'a symlink above it': async (root, elsewhere) => {
    await symlink(elsewhere, dirname(root));
    await mkdir(root);
  },
  'a bind mount': async (root, elsewhere) => {
    await mkdir(root, { recursive: true });
    await run('mount', ['--bind', elsewhere, root]);
  },
};

for (const [way, make] of Object.entries(ways)) {
  test(`A root that is reached by ${way} is like any other`, async () => {
    await using lab = await LayerLab.open('', async (root) => {
      const elsewhere = join(dirname(dirname(root)), 'elsewhere');
      await mkdir(elsewhere);
      await make(root, elsewhere);
    });
    const snapshot = await lab.prepare([
      lab.layer(estargzBlob([{ path: 'file', type: 'reg', content }], 1 << 20)),
      lab.layer(estargzBlob([{ path: 'other', type: 'reg', content: Buffer.from('other') }], 1 << 20)),
    ]);
    const directory = await lab.mount(snapshot, true);
    await writeFile(join(directory, 'written'), 'written');
    const layersOf = async () => (await mountTable(lab.workspace.path)).filter(({ type }) => type === 'erofs');
    const before = await layersOf();
    assert.ok(before.length >= 2, 'a bind mount can show both twice');

    await logged(lab.daemon, 'lazypull is ready');
    const { ready } = await lab.takeOver();
    await ready;
    await logged(lab.daemon, 'lazypull is ready');
    assert.equal(await hasInherited(lab.daemon), true);
    assert.deepEqual(await layersOf(), before, 'what was mounted stays');
    await lab.restart('SIGKILL');
    assert.deepEqual(await layersOf(), before, 'what was mounted stays');
    assert.ok(content.equals(await readFile(join(directory, 'file'))));
    assert.equal(await readFile(join(directory, 'other'), 'utf8'), 'other');
    assert.equal(await readFile(join(directory, 'written'), 'utf8'), 'written');
    assert.deepEqual(
      lab.complaints.filter(({ msg }) => /again|cannot go on|cannot take over/.test(String(msg))),
      [],
    );

    const { stdout } = await promisify(execFile)(lazypull, ['check', '--json', '--root', `${lab.root}/.`], {
      timeout: 60_000,
      killSignal: 'SIGKILL',
    }).catch((error: { stdout: string; killed: boolean }) => {
      assert.ok(!error.killed, 'lazypull check does not end');
      return error; // something else may be wrong here
    });
    assert.match(stdout, /"overlayfs on EROFS","state":"right"/);
    assert.ok(!(await readdir(lab.workspace.path)).some((name) => name.startsWith('lazypull-')));
    await lab.unmount(directory);
    await run(lazypull, ['stop', '--root', lab.root, '--address', lab.socket]);
    assert.deepEqual((await layersOf()).length, 0);
    assert.deepEqual(await keepersBelow(lab.workspace.path), []);
  });
}

test('A daemon refuses a root whose path overlayfs cannot take from every client, and makes nothing', async () => {
  await using workspace = await Workspace.open('paths');
  for (const name of ['a:b', 'a,b', 'a\\b']) {
    const directory = join(workspace.path, name);
    await using daemon: Daemon = await launchDaemon(directory);
    await daemon.program.ended;
    const last = daemon.log().at(-1);
    assert.equal(last?.['msg'], 'Cannot start');
    assert.match(String(last?.['error']), /overlayfs cannot take ".*" in a path from every client; choose a --root/);
    assert.ok(!existsSync(daemon.root));
  }
  assert.deepEqual(await mountsBelow(workspace.path), []);
});

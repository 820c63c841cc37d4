import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { mountOverlay, mountsBelow } from '../../../src/kernel/mount.ts';
import { logged, startDaemon } from '../../support/daemon.ts';
import { Workspace } from '../../support/workspace.ts';

const main = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));

let workspace: Workspace;

before(async () => {
  workspace = await Workspace.open('lp-check');
});
after(() => workspace[Symbol.asyncDispose]());

interface Found {
  readonly name: string;
  readonly state: string;
  readonly text: string;
  readonly advice: string;
}

function check(...flags: string[]): Promise<{ code: number; findings: Map<string, Found> }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'check', '--json', ...flags], (error, stdout) => {
      const lines = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Found);
      const code = typeof error?.code === 'number' ? error.code : 0;
      resolve({ code, findings: new Map(lines.map((line) => [line.name, line])) });
    });
  });
}

const mounts = ['EROFS', 'FUSE', 'EROFS on FUSE', 'overlayfs on EROFS'];

test('lazypull check mounts what the daemon mounts, finds the daemon, and leaves nothing behind', async () => {
  const directory = await workspace.directory('good');
  await using daemon = await startDaemon(directory);
  await logged(daemon, 'rehearsed'); // with a mount and a directory of its own
  const before = await mountsBelow(directory);
  const files = await readdir(daemon.root);
  const { code, findings } = await check('--root', daemon.root, '--address', daemon.socket);
  assert.deepEqual(
    ['user', '/dev/fuse', ...mounts, 'space', 'config file', 'daemon'].map((name) => [name, findings.get(name)?.state]),
    ['user', '/dev/fuse', ...mounts, 'space', 'config file', 'daemon'].map((name) => [name, 'right']),
  );
  assert.equal(code, 0);
  assert.match(findings.get('daemon')!.text, new RegExp(`as process ${daemon.program.pid}$`));
  assert.deepEqual(await mountsBelow(directory), before);
  assert.deepEqual(await readdir(daemon.root), files);
});

test('lazypull check says what is wrong and what mends it', async () => {
  const [lower, upper, work, root] = await Promise.all(
    ['lower', 'upper', 'work', 'overlay'].map((name) => workspace.directory(name)),
  );
  await mountOverlay([lower!], root!, { upper: upper!, work: work! });
  const config = join(workspace.path, 'config.toml');
  await writeFile(config, 'prefetch_size = "large"');
  const address = join(workspace.path, 'none.sock');
  const { code, findings } = await check(
    '--root',
    join(root!, 'not', 'there'),
    '--config',
    config,
    '--address',
    address,
  );
  assert.equal(code, 1);
  const overlay = findings.get('overlayfs on EROFS')!;
  assert.equal(overlay.state, 'wrong');
  assert.match(overlay.text, /Cannot mount overlayfs/);
  assert.match(overlay.advice, /--root; not on overlayfs/);
  assert.equal(findings.get('config file')?.state, 'wrong');
  assert.match(findings.get('config file')!.text, /prefetch_size/);
  assert.equal(findings.get('daemon')?.state, 'absent');
  assert.match(findings.get('daemon')!.advice, /lazypull daemon/);
  assert.deepEqual(await readdir(root!), []);
});

test('lazypull check says where mounts would not reach a client outside of a container', async () => {
  const directory = await workspace.directory('sharing');
  const state = async () => (await check('--root', join(directory, 'root'))).findings.get('sharing of mounts')!;
  await promisify(execFile)('mount', ['--bind', directory, directory]);
  await promisify(execFile)('mount', ['--make-private', directory]);
  const alone = await state();
  assert.equal(alone.state, 'absent');
  assert.match(alone.advice, /-v (\S+):\1:rshared/);
  await promisify(execFile)('mount', ['--make-shared', directory]);
  assert.equal((await state()).state, 'right');
});

test('lazypull check says where a lazy image is several file systems to programs', async () => {
  const config = join(workspace.path, 'xino.toml');
  const parameter = '/sys/module/overlay/parameters/xino_auto';
  const numbers = async (xino: string) => {
    await writeFile(config, `[snapshotter]\nxino = "${xino}"\n`);
    return (await check('--root', workspace.path, '--config', config)).findings.get('inode numbers')!;
  };
  const before = await readFile(parameter, 'utf8');
  try {
    await writeFile(parameter, 'N');
    assert.match((await numbers('on')).text, /one device number.* xino=on/);
    const without = await numbers('off');
    assert.equal(without.state, 'absent');
    assert.match(without.advice, /\[snapshotter\].*xino_auto/);
    await writeFile(parameter, 'Y');
    assert.match((await numbers('off')).text, /one device number.*xino_auto/);
  } finally {
    await writeFile(parameter, before);
  }
});

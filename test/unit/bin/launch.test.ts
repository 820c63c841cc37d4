import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

/** The launchers, in a checkout whose node prints how it was called. */
describe('the launchers', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-launch-'));
  after(() => rmSync(directory, { recursive: true }));
  const repository = join(directory, 'a checkout');
  const node = join(repository, 'node_modules/.bin/node');

  beforeEach(() => {
    rmSync(repository, { recursive: true, force: true });
    cpSync(fileURLToPath(new URL('../../../bin', import.meta.url)), join(repository, 'bin'), { recursive: true });
    mkdirSync(join(repository, 'node_modules/pino'), { recursive: true });
    mkdirSync(join(repository, 'script'));
    writeFileSync(join(repository, 'script/setup'), '');
    mkdirSync(join(repository, 'dist/bin'), { recursive: true });
    for (const name of ['lazypull', 'containerd-stargz-grpc'])
      writeFileSync(join(repository, `dist/bin/${name}.js`), '');
    fakeNode(node, 'v24');
  });

  it('run the main with the arguments as they are', () => {
    const { stdout, status } = run('lazypull', ['convert', 'a b', '']);
    assert.equal(status, 0);
    assert.deepEqual(stdout.split('\n').slice(0, 5), [
      'v24',
      join(repository, 'dist/bin/lazypull.js'),
      'convert',
      'a b',
      '',
    ]);
  });

  it('give the daemon settings for little memory, and leave those that are set', () => {
    const { stdout } = run('containerd-stargz-grpc', ['--root', '/r']);
    assert.match(
      stdout,
      /--max-semi-space-size=\d+\n--heap-growing-percent=\d+\n--expose-gc\n.*containerd-stargz-grpc\.js\n--root\n\/r\n/,
    );
    assert.match(stdout, /MALLOC_ARENA_MAX=2\nUV_THREADPOOL_SIZE=8\n/);
    assert.match(
      run('lazypull', ['daemon']).stdout,
      /--max-semi-space-size=2\n--heap-growing-percent=200\n--expose-gc\n.*lazypull\.js\ndaemon\n/,
    );
    assert.match(run('lazypull', ['daemon'], { MALLOC_ARENA_MAX: '7' }).stdout, /MALLOC_ARENA_MAX=7\n/);
  });

  it('are found through symlinks', () => {
    const link = join(directory, 'link');
    symlinkSync(join(repository, 'bin/lazypull'), `${link}-1`);
    symlinkSync(`${link}-1`, link);
    const { stdout } = spawnSync(link, ['x'], { encoding: 'utf8', env: { PATH: '/usr/bin:/bin' } });
    assert.match(stdout, /dist\/bin\/lazypull\.js\nx\n/);
  });

  it('take node of PATH when the checkout has none, if it is new enough', () => {
    rmSync(node);
    fakeNode(join(directory, 'new/node'), '24');
    assert.equal(run('lazypull', [], { PATH: `${directory}/new:/usr/bin:/bin` }).status, 0);
    fakeNode(join(directory, 'old/node'), '20');
    const old = run('lazypull', [], { PATH: `${directory}/old:/usr/bin:/bin` });
    assert.equal(old.status, 1);
    assert.match(
      old.stderr,
      /^lazypull: .*Node 20, and 24 or later is needed; run ".*\/script\/setup", or put Node 24 or later in PATH\n$/,
    );
  });

  it('run in an installed package, with Node beside it or in PATH', () => {
    const installed = join(directory, 'node_modules/lazypull');
    for (const part of ['bin', 'dist']) cpSync(join(repository, part), join(installed, part), { recursive: true });
    fakeNode(join(directory, 'node_modules/.bin/node'), 'v25');
    const path = join(installed, 'bin/lazypull');
    const beside = spawnSync(path, ['x'], { encoding: 'utf8', env: { PATH: '/usr/bin:/bin' } });
    assert.match(beside.stdout, /^v25\n.*dist\/bin\/lazypull\.js\nx\n/);
    rmSync(join(directory, 'node_modules/.bin'), { recursive: true });
    fakeNode(join(directory, 'old/node'), '20');
    const { status, stderr } = spawnSync(path, [], {
      encoding: 'utf8',
      env: { PATH: `${directory}/old:/usr/bin:/bin` },
    });
    assert.equal(status, 1);
    assert.match(stderr, /^lazypull: .* it is Node 20, and 24 or later is needed; put Node 24 or later in PATH\n$/);
  });

  it('say what to run when node, the dependencies or the build are missing', () => {
    rmSync(join(repository, 'dist'), { recursive: true });
    assert.match(run('lazypull', []).stderr, /Cannot find .*dist\/bin\/lazypull\.js: run ".*\/script\/setup"/);
    rmSync(join(repository, 'node_modules/pino'), { recursive: true });
    assert.match(run('lazypull', []).stderr, /Cannot find the dependencies/);
    rmSync(node);
    const bare = join(directory, 'bare');
    mkdirSync(bare);
    for (const name of ['sh', 'dirname', 'basename', 'readlink']) symlinkSync(`/usr/bin/${name}`, join(bare, name));
    assert.match(run('lazypull', [], { PATH: bare }).stderr, /Cannot find node: run/);
  });

  function run(name: string, args: string[], env: Record<string, string> = {}) {
    return spawnSync(join(repository, 'bin', name), args, {
      encoding: 'utf8',
      env: { PATH: '/usr/bin:/bin', ...env },
    });
  }
});

/** A program that prints `version`, its arguments and the environment that the launchers set, a line each. */
function fakeNode(path: string, version: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const script = `#!/bin/sh\necho ${version}\n[ "$1" != -p ] || exit 0\nfor a in "$@"; do echo "$a"; done\nenv | grep -E '^(MALLOC_ARENA_MAX|UV_THREADPOOL_SIZE)=' | sort\nexit 0\n`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
}

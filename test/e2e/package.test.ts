import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, realpath, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { listenerPid } from '../../src/kernel/unix-socket.ts';
import { Program, run, tryRun } from '../support/program.ts';
import { repository } from '../support/tools.ts';
import { Workspace } from '../support/workspace.ts';

/** What `npm pack` gives, installed from nothing but the registry, with this Node and nothing else of ours in PATH. */
describe('the package', () => {
  let workspace: Workspace;
  let prefix: string;
  let env: Record<string, string>;

  before(async () => {
    workspace = await Workspace.open('lp-pack');
    const packed = await run('npm', ['pack', '--json', '--pack-destination', workspace.path, repository], {
      env: quiet,
    });
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    prefix = await workspace.directory('prefix');
    const tarball = join(workspace.path, filename);
    await run('npm', ['install', '--global', '--prefix', prefix, '--no-audit', '--no-fund', tarball], { env: quiet });
    const bin = await workspace.directory('node');
    await symlink(process.execPath, join(bin, 'node'));
    env = { PATH: `${join(prefix, 'bin')}:${bin}:/usr/sbin:/usr/bin:/sbin:/bin` };
  });
  after(() => workspace[Symbol.asyncDispose]());

  test('brings what a machine needs, and nothing of the tests and the tools', async () => {
    const root = join(prefix, 'lib/node_modules/lazypull');
    assert.equal(await realpath(join(prefix, 'bin/lazypull')), join(root, 'bin/lazypull'));
    for (const file of ['share/systemd/lazypull.service', 'docs/cli.md', 'LICENSE', 'NOTICE', 'README.md']) {
      assert.ok(existsSync(join(root, file)), file);
    }
    for (const file of ['src', 'test', 'node_modules/typescript', 'dist/.built']) {
      assert.ok(!existsSync(join(root, file)), file);
    }
    assert.match(await readFile(join(prefix, 'share/man/man1/lazypull.1'), 'utf8'), /^\.TH LAZYPULL 1/m);
  });

  test('has both programs, which find this machine fit', async () => {
    assert.match(await run('lazypull', ['--version'], { env }), /^lazypull \d/);
    assert.match(await run('containerd-stargz-grpc', ['--version'], { env }), /^containerd-stargz-grpc \d/);
    assert.match(await run('lazypull', ['completion', 'bash'], { env }), /\ncomplete -F _lazypull lazypull\n/);
    const flags = ['--root', join(workspace.path, 'checked'), '--address', join(workspace.path, 'none.sock')];
    const { status, stdout } = await tryRun('lazypull', ['check', ...flags], { env });
    assert.equal(status, 0, stdout);
    assert.match(stdout, /^ok {4}overlayfs on EROFS/m);
  });

  test('serves', async () => {
    const address = join(workspace.path, 'lp.sock');
    await using daemon = new Program({
      name: 'lazypull',
      command: join(prefix, 'bin/lazypull'),
      args: ['daemon', '--address', address, '--root', join(workspace.path, 'root')],
      log: join(workspace.path, 'daemon.log'),
      env,
    });
    await daemon.ready(async () => (await listenerPid(address)) === daemon.pid);
    const status = await run('lazypull', ['status', '--json', '--address', address], { env });
    const { version } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as { version: string };
    assert.equal((JSON.parse(status) as { version: string }).version, version);
    await daemon.stop();
    assert.match(daemon.outcome ?? '', /^ended with status 0$/);
  });
});

/** npm tells of versions and funding otherwise, and of a root that its cache does not belong to. */
const quiet = { npm_config_update_notifier: 'false', npm_config_loglevel: 'error' };

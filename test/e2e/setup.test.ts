import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startContainerdWith } from '../support/containerd.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { Lab } from '../support/lab.ts';
import { run } from '../support/program.ts';
import { builtTool, repository } from '../support/tools.ts';

let lab: Lab;
let daemon: Daemon;

before(async () => {
  lab = await Lab.open();
  daemon = await startDaemon(join(lab.workspace.path, 'lp'));
});
after(async () => {
  await daemon?.[Symbol.asyncDispose]();
  await lab?.[Symbol.asyncDispose]();
});

/** What a containerd has in its config file before: nothing is a file that is not there. */
const configs: [name: string, text: () => Promise<string>][] = [
  ['no config', async () => ''],
  ['a config without a version', async () => '[debug]\n  level = "info"\n'],
  ['a config of version 2', async () => 'version = 2\n'],
  ['a config of version 3', async () => 'version = 3\n'],
  ['the config that containerd prints', () => run(builtTool('containerd'), ['config', 'default'])],
];

for (const [name, text] of configs) {
  test(`lazypull setup containerd --write: with ${name} before, ctr pulls lazily, and for overlayfs as before`, async () => {
    const directory = join(lab.workspace.path, name.replaceAll(' ', '-'));
    await mkdir(directory);
    const config = join(directory, 'config.toml');
    const old = await text();
    if (old !== '') await writeFile(config, old);
    const places = ['--address', daemon.socket, '--root', daemon.root];
    const setup = ['setup', 'containerd', '--write', '--file', config, ...places];
    await run(join(repository, 'bin', 'lazypull'), setup);

    await using containerd = await startContainerdWith(directory, config);
    const image = lab.reference('base:esgz');
    const since = lab.relay.requests.length;
    await containerd.ctr('images', 'pull', '--plain-http', '--snapshotter', 'stargz', image);
    assert.deepEqual(lab.pulls(since), [], 'containerd pulled a layer');
    assert.equal((await containerd.ctr('snapshots', '--snapshotter', 'stargz', 'ls')).match(/Committed/g)?.length, 2);
    await containerd.ctr('images', 'pull', '--plain-http', image);
    assert.equal(lab.pulls(since).length, lab.base.layers.length);
    await containerd.ctr('images', 'rm', '--sync', image);
  });
}

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryRoot } from '../../support/index-lab.ts';
import { plainImage, serveImage } from '../../support/plain-image.ts';
import { startRegistry } from '../../support/registry.ts';

const main = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command on a machine whose daemon has that root. */
function lazypull(root: string, ...args: string[]): Promise<Result> {
  const env = { ...process.env, LAZYPULL_ROOT: root };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { encoding: 'latin1', env }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
  });
}

test('lazypull ls, cat and inspect read an unmodified image, and by its index if there is one', async () => {
  await using root = await temporaryRoot();
  await using registry = await startRegistry();
  const image = plainImage([1000, 2000]);
  serveImage(registry, 'app', '1', image);
  const name = `${registry.host}/app:1`;
  const config = join(root.path, 'config.toml');
  await writeFile(config, `[index]\nrepository = "${registry.host}/team/indexes"\n`);
  const listed = await lazypull(root.path, 'ls', '-R', '--json', name);
  assert.equal(listed.code, 0, listed.stderr);
  assert.equal(listed.stderr.match(/There is no index of layer \w+: all of it is read/g)?.length, 2);
  const files = listed.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { path: string; size: number; type: string });
  const file = files.find(({ type, size }) => type === 'file' && size > 0)!;
  const printed = await lazypull(root.path, 'cat', name, file.path);
  assert.equal(printed.stdout.length, file.size, printed.stderr);
  assert.match(
    (await lazypull(root.path, 'inspect', name)).stdout,
    /2 can be lazy[^]* can be lazy: no index of it is found/,
  );

  assert.equal((await lazypull(root.path, 'index', name, '--push', '--config', config)).code, 0);
  const again = await lazypull(root.path, 'cat', '--config', config, name, file.path);
  assert.equal(again.stdout, printed.stdout);
  assert.equal(again.stderr, '');
  const inspected = await lazypull(root.path, 'inspect', '--config', config, name);
  assert.match(inspected.stdout, /2 layers, .*; 2 can be lazy/);
  assert.match(inspected.stdout, /is read by a layer index, found in "127\.0\.0\.1:\d+\/team\/indexes"/);
});

test('lazypull why and inspect look into the index repository without a daemon, and say if it cannot be asked', async () => {
  await using root = await temporaryRoot();
  await using registry = await startRegistry();
  const image = plainImage([1000, 2000]);
  serveImage(registry, 'app', '1', image);
  const name = `${registry.host}/app:1`;
  const [config, wrong] = [join(root.path, 'config.toml'), join(root.path, 'wrong.toml')];
  await writeFile(config, `[index]\nrepository = "${registry.host}/team/indexes"\n`);
  await writeFile(wrong, '[index]\nrepository = "127.0.0.1:1/team/indexes"\n');
  const pushed = await lazypull(join(root.path, 'another'), 'index', name, '--push', '--config', config);
  assert.equal(pushed.code, 0, pushed.stderr);
  const found = await lazypull(root.path, 'why', '--config', config, name);
  assert.equal(found.stdout.match(/can be lazy: by an index found in "127\.0\.0\.1:\d+\/team\/indexes"/g)?.length, 2);
  for (const command of ['why', 'inspect']) {
    const unasked = await lazypull(root.path, command, '--config', wrong, name);
    assert.equal(unasked.code, 0, unasked.stderr);
    assert.equal(unasked.stdout.match(/can be lazy: no index of it is found/g)?.length, 2);
    const said = unasked.stderr.match(/Cannot tell whether there are indexes of all layers: .*cannot be asked: /g);
    assert.equal(said?.length, 1, unasked.stderr);
  }
});

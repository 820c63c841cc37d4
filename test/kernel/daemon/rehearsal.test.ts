import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { mountsBelow } from '../../../src/kernel/mount.ts';
import { logged, startDaemon } from '../../support/daemon.ts';
import { freePort } from '../../support/ports.ts';
import { run } from '../../support/program.ts';
import { SnapshotsClient } from '../../support/snapshots-client.ts';
import { endKeepers, Workspace } from '../../support/workspace.ts';

test('A daemon rehearses with a made-up layer, without a word of it in layers, mounts, log and metrics', async () => {
  await using workspace = await Workspace.open('lp-rehearsal');
  const directory = join(workspace.path, 'lp');
  const port = await freePort();
  await using daemon = await startDaemon(directory, 'debug', `metrics_address = "127.0.0.1:${port}"\n`);
  await logged(daemon, 'rehearsed');
  assert.deepEqual(await mountsBelow(daemon.root), [join(daemon.root, 'fuse')]);
  const kept = ['rehearsal', 'layers', 'traces'].filter((name) => existsSync(join(daemon.root, name)));
  assert.deepEqual(kept, []);
  const loud = daemon.log().filter(({ level }) => level !== 'debug' && level !== 'info');
  assert.deepEqual(loud, []);
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const counted = metrics
    .split('\n')
    .filter((line) => /^lazypull_(layers_fetche|registry_(requests|received))/.test(line));
  assert.ok(counted.length > 5);
  assert.deepEqual(
    counted.filter((line) => !line.endsWith(' 0')),
    [],
  );
});

test('A daemon does not rehearse while a client waits for it', async () => {
  await using workspace = await Workspace.open('lp-rehearsal');
  const directory = join(workspace.path, 'lp');
  await using daemon = await startDaemon(directory, 'debug');
  using client = new SnapshotsClient(daemon.socket);
  await client.cleanup();
  await logged(daemon, 'does not rehearse: a client is there already');
  assert.ok(!daemon.log().some(({ msg }) => msg === 'rehearsed'));
  await endKeepers(directory);
});

test('What a rehearsal that was killed has left is taken away by the next daemon', async () => {
  await using workspace = await Workspace.open('lp-rehearsal');
  const directory = join(workspace.path, 'lp');
  const stage = join(directory, 'root', 'rehearsal');
  await mkdir(join(stage, 'mount'), { recursive: true });
  await mkdir(join(stage, 'layer'));
  await writeFile(join(stage, 'layer', 'disk'), 'some');
  await run('mount', ['-t', 'tmpfs', 'none', join(stage, 'mount')]);
  await using daemon = await startDaemon(directory);
  await logged(daemon, 'rehearsed');
  assert.equal(existsSync(stage), false);
  await endKeepers(directory);
});

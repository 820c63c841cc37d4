import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { warmUp } from '../../../src/daemon/warm-up.ts';
import { mountsBelow } from '../../../src/kernel/mount.ts';
import { Layers } from '../../../src/layers/layers.ts';
import { type Log, silentLog } from '../../../src/log.ts';
import { fakeImage } from '../../support/fake-image.ts';
import { logged, startDaemon } from '../../support/daemon.ts';
import { freePort } from '../../support/ports.ts';
import { run } from '../../support/program.ts';
import { SnapshotsClient } from '../../support/snapshots-client.ts';
import { endKeepers, Workspace } from '../../support/workspace.ts';
import { until } from '../../support/until.ts';

test('runDaemon warms up with a synthetic layer that layers, mounts, log and metrics do not show', async () => {
  await using workspace = await Workspace.open('lp-warm-up');
  const directory = join(workspace.path, 'lp');
  const port = await freePort();
  await using daemon = await startDaemon(directory, 'debug', `metrics_address = "127.0.0.1:${port}"\n`);
  await logged(daemon, 'warmed up');
  assert.deepEqual(await mountsBelow(daemon.root), []);
  const kept = ['warm-up', 'layers', 'traces'].filter((name) => existsSync(join(daemon.root, name)));
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

test('runDaemon does not warm up once a client has called', async () => {
  await using workspace = await Workspace.open('lp-warm-up');
  const directory = join(workspace.path, 'lp');
  await using daemon = await startDaemon(directory, 'debug');
  using client = new SnapshotsClient(daemon.socket);
  await client.cleanup();
  await logged(daemon, 'ends the warm-up early');
  assert.ok(!daemon.log().some(({ msg }) => msg === 'warmed up'));
  await endKeepers(directory);
});

test('runDaemon ends the warm-up at the first call of a client', async () => {
  await untilSeen(async () => {
    await using workspace = await Workspace.open('lp-warm-up');
    const directory = join(workspace.path, 'lp');
    await using daemon = await startDaemon(directory, 'debug');
    using client = new SnapshotsClient(daemon.socket);
    const has = (message: string): boolean => daemon.log().some(({ msg }) => msg === message);
    while (!existsSync(join(daemon.root, 'warm-up')) && !has('warmed up')) await setImmediate(); // it is short
    await client.cleanup();
    await until(() => has('ends the warm-up early') || has('warmed up'));
    assert.equal(existsSync(join(daemon.root, 'warm-up')), false);
    await endKeepers(directory);
    return !has('warmed up');
  });
});

/** What the directory of a warm-up shows while it does something. */
const moments = {
  'planning a layer': (stage: string) => existsSync(join(stage, 'layer')),
  'reading a layer': async (stage: string) => (await mountsBelow(stage)).length > 0,
};

/** Ends a warm-up while it does something. @returns false if it was over before that */
async function endIn(moment: keyof typeof moments, root: string, layers: Layers, log: Log): Promise<boolean> {
  const wanted = new AbortController();
  const warmingUp = warmUp(layers, log, wanted.signal);
  let isOver = false;
  void warmingUp.finally(() => (isOver = true));
  while (!isOver && !(await moments[moment](join(root, 'warm-up')))) await setImmediate();
  const isSeen = !isOver;
  wanted.abort();
  await warmingUp;
  return isSeen;
}

/** A warm-up is soon over: it takes a few tries to see it. */
async function untilSeen(see: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 20; tries++) if (await see()) return;
  assert.fail('It was over each time before it was seen');
}

test('warmUp ends early, whatever it is doing, and leaves nothing behind', async () => {
  await using workspace = await Workspace.open('lp-warm-up');
  for (const name of Object.keys(moments) as (keyof typeof moments)[]) {
    const root = join(workspace.path, name);
    const images = (reference: string) => fakeImage(reference);
    const options = { root, images, prefetch: undefined, background: undefined };
    const lines: string[] = [];
    const log = { ...silentLog, debug: (_: object, line: string) => void lines.push(line) };
    const layers = await Layers.start({ ...options, log: { ...log, warn: (_, line) => void lines.push(line) } });
    await untilSeen(async () => {
      lines.length = 0;
      return endIn(name, root, layers, log);
    });
    assert.deepEqual([...new Set(lines)], ['ends the warm-up early'], name);
    assert.equal(existsSync(join(root, 'warm-up')), false, name);
    assert.deepEqual(await mountsBelow(root), [], name);
    assert.ok(await layers.close(), name);
  }
});

test('runDaemon removes what the warm-up of a killed daemon has left, even of an older version', async () => {
  await using workspace = await Workspace.open('lp-warm-up');
  const directory = join(workspace.path, 'lp');
  const stages = ['warm-up', 'rehearsal'].map((name) => join(directory, 'root', name));
  for (const stage of stages) {
    await mkdir(join(stage, 'mount'), { recursive: true });
    await mkdir(join(stage, 'layer'));
    await writeFile(join(stage, 'layer', 'disk'), 'some');
    await run('mount', ['-t', 'tmpfs', 'none', join(stage, 'mount')]);
  }
  await using daemon = await startDaemon(directory);
  await logged(daemon, 'warmed up');
  assert.deepEqual(
    stages.filter((stage) => existsSync(stage)),
    [],
  );
  await endKeepers(directory);
});

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { rehearse, rehearseAsClient } from '../../../src/daemon/warm-up.ts';
import { mountsBelow } from '../../../src/kernel/mount.ts';
import { Layers } from '../../../src/layers/layers.ts';
import { type Log, silentLog } from '../../../src/log.ts';
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
  assert.deepEqual(await mountsBelow(daemon.root), []);
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

test('A daemon does not rehearse once a client has called', async () => {
  await using workspace = await Workspace.open('lp-rehearsal');
  const directory = join(workspace.path, 'lp');
  await using daemon = await startDaemon(directory, 'debug');
  using client = new SnapshotsClient(daemon.socket);
  await client.cleanup();
  await logged(daemon, 'ends the rehearsal early');
  assert.ok(!daemon.log().some(({ msg }) => msg === 'rehearsed'));
  await endKeepers(directory);
});

test('A call in the midst of a rehearsal ends it', async () => {
  await untilSeen(async () => {
    await using workspace = await Workspace.open('lp-rehearsal');
    const directory = join(workspace.path, 'lp');
    await using daemon = await startDaemon(directory, 'debug');
    using client = new SnapshotsClient(daemon.socket);
    const has = (message: string): boolean => daemon.log().some(({ msg }) => msg === message);
    while (!existsSync(join(daemon.root, 'rehearsal')) && !has('rehearsed')) await setImmediate();
    await client.cleanup();
    while (!has('ends the rehearsal early') && !has('rehearsed')) await setImmediate();
    assert.equal(existsSync(join(daemon.root, 'rehearsal')), false);
    await endKeepers(directory);
    return !has('rehearsed');
  });
});

/** What can be seen of a rehearsal in its directory when it is at something. */
const moments = {
  calls: (stage: string) => existsSync(join(stage, 'client', 'socket')),
  'planning a layer': (stage: string) => existsSync(join(stage, 'layer')),
  'reading a layer': async (stage: string) => (await mountsBelow(stage)).length > 0,
};

/** Ends a rehearsal when it is at something. @returns false where it was over before */
async function endIn(moment: keyof typeof moments, root: string, layers: Layers, log: Log): Promise<boolean> {
  const wanted = new AbortController();
  const before = moment === 'calls' ? rehearseAsClient(root, log, wanted.signal) : undefined;
  const rehearsing = rehearse(layers, log, wanted.signal, before);
  let isOver = false;
  void rehearsing.finally(() => (isOver = true));
  while (!isOver && !(await moments[moment](join(root, 'rehearsal')))) await setImmediate();
  const isSeen = !isOver;
  wanted.abort();
  await rehearsing;
  return isSeen;
}

/** What is rehearsed is soon over: who wants to see it tries a few times. */
async function untilSeen(see: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 20; tries++) if (await see()) return;
  assert.fail('It was over each time before anybody saw it');
}

test('A rehearsal ends early in whatever it is doing, and leaves nothing behind', async () => {
  await using workspace = await Workspace.open('lp-rehearsal');
  for (const name of Object.keys(moments) as (keyof typeof moments)[]) {
    const root = join(workspace.path, name);
    const openBlob = () => assert.fail('no blob is asked for');
    const options = { root, openBlob, prefetch: undefined, background: undefined };
    const lines: string[] = [];
    const log = { ...silentLog, debug: (_: object, line: string) => void lines.push(line) };
    const layers = await Layers.start({ ...options, log: { ...log, warn: (_, line) => void lines.push(line) } });
    await untilSeen(async () => {
      lines.length = 0;
      return endIn(name, root, layers, log);
    });
    assert.deepEqual([...new Set(lines)], ['ends the rehearsal early'], name);
    assert.equal(existsSync(join(root, 'rehearsal')), false, name);
    assert.deepEqual(await mountsBelow(root), [], name);
    assert.ok(await layers.close(), name);
  }
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

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { DaemonStatus } from '../../src/status/status.ts';
import { type Buildkitd, startBuildkitd } from '../support/buildkitd.ts';
import { type Containerd, startContainerd } from '../support/containerd.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { Lab, lazypullAgent } from '../support/lab.ts';
import { run, tryRun } from '../support/program.ts';
import { reconnected } from '../support/reconnected.ts';
import { repository } from '../support/tools.ts';
import { mountsBelow } from '../support/workspace.ts';
import { until } from '../support/until.ts';

const lazypull = join(repository, 'bin', 'lazypull');

let lab: Lab;
let daemon: Daemon;
let containerd: Containerd;
let buildkitd: Buildkitd;
/** Where the image of containerd is mounted. */
let mounted: string;
let bkSocket: string;
let toml: string;

const start = () => startDaemon(join(lab.workspace.path, 'lp'), 'debug', toml);
const ctr = (...args: string[]) => containerd.ctr('--namespace', 'lp', ...args);

before(async () => {
  lab = await Lab.open();
  bkSocket = join(lab.workspace.path, 'lp', 'bk.sock');
  mounted = join(lab.workspace.path, 'mnt');
  toml = `no_background_fetch = true\n[[client]]\nname = "bk"\naddress = ${JSON.stringify(bkSocket)}\n`;
  daemon = await start();
  containerd = await startContainerd(join(lab.workspace.path, 'cd'), daemon.socket);
  buildkitd = await startBuildkitd(join(lab.workspace.path, 'bk'), {
    kind: 'oci',
    snapshotter: 'stargz',
    socket: bkSocket,
  });
});
after(async () => {
  if (mounted !== undefined) await tryRun('umount', [mounted]);
  await buildkitd?.[Symbol.asyncDispose]();
  await containerd?.[Symbol.asyncDispose]();
  await daemon?.[Symbol.asyncDispose]();
  await lab?.[Symbol.asyncDispose]();
});

/** A build that reads most of the base. `name` keeps BuildKit from having it done before. @returns the digest of all */
async function build(name: string, by: Buildkitd = buildkitd): Promise<string> {
  const read = `cd /data && sha256sum ballast many/* | sha256sum # ${name}`;
  const context = await lab.context(name, `ARG BASE\nFROM \${BASE}\nRUN ${read}\n`);
  const lines: string[] = [];
  await by.build({
    context,
    buildArgs: { BASE: lab.reference('base:esgz') },
    onLine: (line) => lines.push(line),
  });
  const [, digest] = /([0-9a-f]{64}) {2}-/.exec(lines.join('\n')) ?? [];
  assert.ok(digest, lines.join('\n'));
  return digest;
}

/** Reads the same of the image that containerd has mounted; the kernel asks us for all of it again. */
async function readMounted(): Promise<string> {
  await run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']);
  const read = `cd ${mounted}/data && sha256sum ballast many/* | sha256sum`;
  return (await run('sh', ['-c', read])).slice(0, 64);
}

const unmount = () => ctr('images', 'unmount', '--snapshotter', 'stargz', '--rm', mounted);

/** How often lazypull asked for data of layers from request `since` on. */
const fetches = (since: number) =>
  lab.relay.requests.slice(since).filter(({ path, agent }) => lazypullAgent.test(agent) && path.includes('/blobs/'))
    .length;

async function status(socket: string): Promise<DaemonStatus> {
  return JSON.parse(await run(lazypull, ['status', '--json', '--address', socket])) as DaemonStatus;
}

test('What containerd has read is not fetched again for buildkitd, and each has its own snapshots', async () => {
  await run(lazypull, ['pull', '--address', containerd.address, '--namespace', 'lp', lab.reference('base:esgz')]);
  await mkdir(mounted);
  await ctr('images', 'mount', '--snapshotter', 'stargz', lab.reference('base:esgz'), mounted);
  const digest = await readMounted();
  const since = lab.relay.requests.length;
  assert.ok(fetches(0) > 0);
  assert.equal(await build('first'), digest);
  assert.equal(fetches(since), 0);
  assert.deepEqual(lab.pulls(since), []);

  for (const socket of [daemon.socket, bkSocket]) {
    const { layers, clients } = await status(socket);
    assert.deepEqual(
      layers.map((layer) => [layer.digest, layer.mounts, layer.clients]),
      lab.base.layers.map((layer) => [layer.digest, 2, ['bk', 'default']]),
    );
    assert.deepEqual(
      clients.map(({ name, process }) => [name, process]),
      [
        ['default', { pid: containerd.program.pid, command: 'containerd' }],
        ['bk', { pid: buildkitd.program.pid, command: 'buildkitd' }],
      ],
    );
    const why = await run(lazypull, ['why', '--json', '--address', socket, lab.reference('base:esgz')]);
    assert.equal(why.match(/"verdict":"lazy"/g)?.length, lab.base.layers.length, why);
    const cached = await run(lazypull, ['cache', 'ls', '--json', '--root', daemon.root, '--address', socket]);
    assert.equal(cached.match(/"inUse":true/g)?.length, lab.base.layers.length, cached);
  }
});

test('After a kill -9 of the daemon both go on, and both after a start with nothing mounted', async () => {
  const digest = await readMounted();
  const since = lab.relay.requests.length;
  const mounts = await mountsBelow(daemon.root);
  await daemon.program.stop('SIGKILL');
  const reading = readMounted();
  daemon = await start();
  assert.equal(await reading, digest);
  assert.deepEqual(await mountsBelow(daemon.root), mounts);
  assert.equal(await reconnected(() => build('killed')), digest);

  await unmount();
  await daemon.program.stop('SIGTERM');
  assert.deepEqual(await mountsBelow(daemon.root), []);
  daemon = await start();
  assert.equal(await reconnected(() => build('stopped')), digest);
  await reconnected(() => ctr('images', 'mount', '--snapshotter', 'stargz', lab.reference('base:esgz'), mounted));
  assert.equal(await readMounted(), digest);
  assert.equal(fetches(since), 0);
});

test('A second client on one socket is refused, and takes nothing from the first one', async () => {
  const digest = await readMounted();
  const layers = await status(bkSocket);
  await using intruder = await startBuildkitd(join(lab.workspace.path, 'bk2'), {
    kind: 'oci',
    snapshotter: 'stargz',
    socket: daemon.socket,
  });
  const { pid } = intruder.program;
  await assert.rejects(
    build('intruder', intruder),
    /Two clients use the socket ".*lp\.sock": process \d+ \(containerd\)/,
  );
  await intruder.buildctl('prune', '--all');
  assert.equal(await readMounted(), digest);
  const after = await status(daemon.socket);
  assert.deepEqual(
    after.layers.map(({ digest, mounts, clients }) => [digest, mounts, clients]),
    layers.layers.map(({ digest, mounts, clients }) => [digest, mounts, clients]),
  );
  assert.deepEqual(after.clients[0]?.refused, { pid, command: 'buildkitd' });
  const refusals = daemon.log().filter(({ level, msg }) => level === 'error' && /Two clients use/.test(String(msg)));
  assert.equal(refusals.length, 1);
  const { stdout } = await tryRun(lazypull, ['check', '--address', daemon.socket, '--root', daemon.root]);
  assert.match(stdout, new RegExp(`^WRONG client default: .*process ${pid} \\(buildkitd\\) wants to`, 'm'));
});

test('A prune of one client removes nothing that the other one uses', async () => {
  const digest = await readMounted();
  const since = lab.relay.requests.length;
  await buildkitd.buildctl('prune', '--all');
  await released('bk', ['default']);
  await run(lazypull, ['cache', 'prune', '--root', daemon.root, '--address', daemon.socket]);
  assert.equal(await readMounted(), digest);
  assert.equal(await build('again'), digest);

  await unmount();
  await ctr('images', 'rm', '--sync', lab.reference('base:esgz'));
  await released('default', ['bk']);
  await run(lazypull, ['cache', 'prune', '--root', daemon.root, '--address', bkSocket]);
  assert.equal(await build('alone'), digest);
  await daemon.program.stop();
  await run(lazypull, ['cache', 'prune', '--root', daemon.root]);
  daemon = await start();
  assert.equal(await reconnected(() => build('after')), digest);
  assert.equal(fetches(since), 0);
  await buildkitd.buildctl('prune', '--all');
  await until(async () => (await mountsBelow(daemon.root)).length === 0);
});

/** Waits until the layers are no longer mounted for `client`, but for the others. */
async function released(client: string, others: readonly string[]): Promise<void> {
  await until(async () => {
    const { layers } = await status(daemon.socket);
    assert.equal(layers.length, lab.base.layers.length);
    return layers.every(({ clients }) => !clients.includes(client) && clients.join() === others.join());
  });
}

import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { containerdAt, logsAt, ownPlaces } from '../../src/buildkit/places.ts';
import { defaults } from '../../src/config/load.ts';
import { listenerPid } from '../../src/kernel/unix-socket.ts';
import type { DaemonStatus } from '../../src/status/status.ts';
import { attachBuildkitd, stateFlags } from '../support/buildkitd.ts';
import { Lab } from '../support/lab.ts';
import { Program, run, tryRun } from '../support/program.ts';
import { buildkitTools, repository } from '../support/tools.ts';
import { until } from '../support/until.ts';

let lab: Lab;

before(async () => {
  lab = await Lab.open();
});
after(() => lab[Symbol.asyncDispose]());

test('script/buildkit/run.sh takes the flags of the seed for the OCI worker, and started again uses the same lazypull', async () => {
  const directory = join(lab.workspace.path, 'oci');
  const socket = join(directory, 'lp.sock');
  const flags = ['--oci-worker-snapshotter=stargz', `--oci-worker-proxy-snapshotter-address=unix://${socket}`];
  try {
    const first = await buildWithScript(directory, [...flags, '--containerd-worker=false'], socket);
    const second = await buildWithScript(directory, [...flags, '--containerd-worker=false'], socket);
    assert.equal(first, second, 'the second run started another lazypull');
  } finally {
    await endListener(socket);
  }
});

test('script/buildkit/run.sh takes the flags of the seed for the containerd worker, and starts containerd', async () => {
  const directory = join(lab.workspace.path, 'containerd');
  const address = join(directory, 'cd.sock');
  const flags = ['--oci-worker=false', '--containerd-worker=true', '--containerd-worker-snapshotter=stargz'];
  const socket = containerdAt(address, { LAZYPULL_HOME: join(directory, 'home') }).lazypull.address;
  try {
    await buildWithScript(
      directory,
      [...flags, `--containerd-worker-addr=${address}`, '--containerd-worker-net=host'],
      socket,
    );
  } finally {
    await endListener(address);
    await endListener(socket);
  }
});

test('lazypull buildkitd needs no flags, says how it is used, has a killed daemon started again, and ends as buildkitd does', async () => {
  const home = join(lab.workspace.path, 'own');
  const places = ownPlaces({ LAZYPULL_HOME: home });
  await mkdir(home, { recursive: true });
  const context = await lab.context('own', 'ARG BASE\nFROM ${BASE}\nRUN echo hello > /hello.txt\n');
  try {
    const program = new Program({
      name: 'lazypull buildkitd',
      command: join(repository, 'bin', 'lazypull'),
      args: ['buildkitd', '--oci-worker-net=host'],
      log: join(home, 'run.log'),
      env: { LAZYPULL_HOME: home },
    });
    await using buildkitd = await attachBuildkitd(home, program, places.buildkitd);
    const since = lab.relay.requests.length;
    await buildkitd.build({ context, buildArgs: { BASE: lab.reference('base:esgz') } });
    assert.deepEqual(lab.pulls(since), [], 'the client pulled a layer');
    assert.match(program.output, new RegExp(`buildctl --addr unix://${places.buildkitd} build`));
    assert.match(program.output, new RegExp(`docker buildx create .* unix://${places.buildkitd}\\n`));
    await findsDaemon(home, places.snapshotter, lab.reference('base:esgz'));
    const daemon = await listenerPid(places.snapshotter);
    process.kill(daemon!, 'SIGKILL');
    const next = await until(async () => {
      const pid = await listenerPid(places.snapshotter);
      return pid !== daemon && pid;
    });
    await buildkitd.build({ context, buildArgs: { BASE: lab.reference('base:esgz') }, args: ['--no-cache'] });
    assert.equal(await listenerPid(places.snapshotter), next);
    const log = await readFile(join(logsAt({ LAZYPULL_HOME: home }), 'lazypull.log'), 'utf8');
    assert.equal(log.match(/"ended":"signal 9".*"msg":"the daemon has ended: another one is started"/g)?.length, 1);
    await program.stop('SIGTERM');
    assert.match(program.outcome ?? '', /^ended with status 1$/);
    const [, command = ''] = /keeps running until "(.* stop --address \S+)"/.exec(program.output) ?? [];
    const stopped = await tryRun('sh', ['-c', command], { env: { LAZYPULL_HOME: home } });
    assert.equal(stopped.status, 0, stopped.stderr);
    assert.match(stopped.stderr, /^lazypull: Stopped the daemon at ".*snapshotter\.sock", process \d+$/m);
    assert.equal(await listenerPid(places.snapshotter), undefined);
  } finally {
    await endListener(places.snapshotter);
  }
});

test('lazypull buildkitd --mirror fetches only what is missing when an image is exported, and keeps the configuration that is there', async () => {
  const home = join(lab.workspace.path, 'mirror');
  const places = ownPlaces({ LAZYPULL_HOME: home });
  await mkdir(home, { recursive: true });
  const config = join(home, 'given.toml');
  await writeFile(config, '[worker.oci]\n  max-parallelism = 3\n');
  const context = await lab.context('mirror', 'ARG BASE\nFROM ${BASE}\nRUN echo hello > /hello.txt\n');
  try {
    const program = new Program({
      name: 'lazypull buildkitd',
      command: join(repository, 'bin', 'lazypull'),
      args: ['buildkitd', '--oci-worker-net=host', `--config=${config}`, '--mirror', lab.relay.host],
      log: join(home, 'run.log'),
      env: { LAZYPULL_HOME: home },
    });
    await using buildkitd = await attachBuildkitd(home, program, places.buildkitd);
    const since = lab.relay.requests.length;
    const build = { context, buildArgs: { BASE: lab.reference('base:esgz') } };
    await buildkitd.build(build);
    await buildkitd.build({ ...build, output: `type=oci,dest=${join(home, 'image.tar')}` });
    assert.deepEqual(lab.pulls(since), [], 'the client pulled a layer past the mirror');
    const blobBytes = lab.base.layers.reduce((sum, { size }) => sum + size, 0);
    const { bytes } = lab.relay.traffic(/^/, since);
    assert.ok(bytes > blobBytes && bytes < blobBytes + (64 << 10), `${bytes} bytes for blobs of ${blobBytes}`);
    assert.match(await readFile(places.config, 'utf8'), /max-parallelism = 3\n[^]*mirrors = \["127\.0\.0\.1:\d+"\]/);
    await program.stop('SIGTERM');
  } finally {
    await endListener(places.snapshotter);
  }
});

test('lazypull buildkitd --group lets the members of the group build, and nobody else', async () => {
  const home = join(lab.workspace.path, 'group');
  const places = ownPlaces({ LAZYPULL_HOME: home });
  // As a daemon leaves it that has another socket there.
  await mkdir(dirname(places.buildkitd), { recursive: true, mode: 0o700 });
  for (const directory of [lab.workspace.path, home, dirname(dirname(places.buildkitd))]) await chmod(directory, 0o755);
  const group = 54321;
  const asked = async (gid: number): Promise<number | null> => {
    const { buildctl } = buildkitTools();
    const who = ['--reuid=65534', `--regid=${gid}`, '--clear-groups'];
    return (await tryRun('setpriv', [...who, buildctl, '--addr', `unix://${places.buildkitd}`, 'debug', 'workers']))
      .status;
  };
  try {
    const program = new Program({
      name: 'lazypull buildkitd',
      command: join(repository, 'bin', 'lazypull'),
      args: ['buildkitd', '--oci-worker-net=host', '--group', String(group)],
      log: join(home, 'run.log'),
      env: { LAZYPULL_HOME: home },
    });
    await using _ = await attachBuildkitd(home, program, places.buildkitd);
    assert.equal(await asked(group), 0);
    assert.notEqual(await asked(group + 1), 0);
    const { mode, gid } = await stat(dirname(places.buildkitd));
    assert.deepEqual([mode & 0o777, gid], [0o711, 0], 'who may write there can put another socket in its place');
    assert.equal((await stat(dirname(places.snapshotter))).mode & 0o777, 0o700);
  } finally {
    await endListener(places.snapshotter);
  }
});

/**
 * Whether commands without flags speak to the daemon that `lazypull buildkitd` has started, if none is at the
 * default socket.
 */
async function findsDaemon(home: string, socket: string, image: string): Promise<void> {
  assert.equal(await listenerPid(defaults.address), undefined, 'a daemon at the default socket is in the way');
  const lazypull = async (...args: string[]): Promise<string> =>
    run(join(repository, 'bin', 'lazypull'), args, { env: { LAZYPULL_HOME: home } });
  const digests = lab.base.layers.map(({ digest }) => digest).sort();
  assert.ok((await lazypull('status')).includes(` at ${socket}\nup `));
  const status = JSON.parse(await lazypull('status', '--json')) as DaemonStatus & { address: string };
  assert.equal(status.address, socket);
  assert.deepEqual(status.layers.map(({ digest }) => digest).sort(), digests);
  assert.equal((await lazypull('why', '--json', image)).match(/"verdict":"lazy"/g)?.length, digests.length);
  for (const digest of digests) assert.ok((await lazypull('cache', 'ls', '--json')).includes(digest));
  assert.match(await lazypull('check'), new RegExp(`ok +daemon: .* serves "${socket}"`));
}

/** Gives the pid of the lazypull that served the build. */
async function buildWithScript(directory: string, flags: readonly string[], socket: string): Promise<number> {
  const context = await lab.context('hello', 'ARG BASE\nFROM ${BASE}\nRUN echo hello > /hello.txt\n');
  const state = join(directory, 'bk');
  await mkdir(state, { recursive: true });
  const program = new Program({
    name: 'run.sh',
    command: join(repository, 'script', 'buildkit', 'run.sh'),
    args: [...flags, '--oci-worker-net=host', ...stateFlags(state)],
    log: join(state, 'run.log'),
    env: { LAZYPULL_HOME: join(directory, 'home') },
  });
  await using buildkitd = await attachBuildkitd(state, program);
  const since = lab.relay.requests.length;
  const tar = join(state, 'out.tar');
  await buildkitd.build({ context, buildArgs: { BASE: lab.reference('base:esgz') }, output: `type=tar,dest=${tar}` });
  assert.equal(await run('tar', ['-xf', tar, 'hello.txt', '-O']), 'hello\n');
  assert.deepEqual(lab.pulls(since), [], 'the client pulled a layer');
  const pid = await listenerPid(socket);
  assert.ok(pid !== undefined);
  return pid;
}

/** What run.sh starts in the background runs on after it. */
async function endListener(socket: string): Promise<void> {
  const pid = await listenerPid(socket);
  if (pid === undefined) return;
  process.kill(pid, 'SIGTERM');
  await until(async () => !(await isRunning(pid)));
}

/** Whether the process has not ended; a zombie has, even if its parent has not noticed. */
async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat !== undefined && !/\) Z /.test(stat);
}

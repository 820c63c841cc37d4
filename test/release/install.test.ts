import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BareSystem } from '../support/bare-system.ts';
import { lazypullAgent } from '../support/lab.ts';
import { startRegistry } from '../support/registry-process.ts';
import { Relay } from '../support/relay.ts';
import { releaseFile, version } from '../support/release.ts';
import { pushSmallBase } from '../support/small-base.ts';
import { buildkitTools } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { Workspace } from '../support/workspace.ts';

const socket = 'unix:///run/lazypull/buildkitd.sock';

/** The files of a release on a Debian without Node and Go. */
describe('a release on a bare system', () => {
  const stack = new AsyncDisposableStack();
  let workspace: Workspace;
  let relay: Relay;

  before(async () => {
    workspace = stack.use(await Workspace.open('lp-bare'));
    const registry = stack.use(await startRegistry(await workspace.directory('registry')));
    relay = stack.use(await Relay.start(registry.port));
    await pushSmallBase(join(workspace.path, 'make'), relay.host, 'base');
  });
  after(() => stack.disposeAsync());

  test('the tarball runs when it is unpacked, and builds lazily', async () => {
    await using system = await bareSystem('tarball');
    const tarball = await give(system, await releaseFile(/-linux-amd64\.tar\.gz$/));
    await system.run('tar', '-xzf', tarball, '-C', '/usr/local', '--strip-components=1');
    await isFit(system);
    await system.run('systemd-run', '--unit=by-hand', 'lazypull', 'buildkitd');
    assert.ok((await buildLazily(system, 'tarball')) > 0, 'lazypull fetched nothing');
    await system.run('lazypull', 'stop');
    await system.run('systemctl', 'stop', 'by-hand');
  });

  test('the Debian package runs as services, hands over, and goes', async () => {
    await using system = await bareSystem('deb');
    const deb = await give(system, await releaseFile(/_amd64\.deb$/));
    await system.run('dpkg', '--install', deb);
    assert.equal((await system.tryRun('systemctl', 'is-active', 'lazypull', 'lazypull-buildkitd')).status, 3);
    await isFit(system);
    await unitsAreSound(system);
    await system.run('systemctl', 'enable', '--now', 'lazypull', 'lazypull-buildkitd');
    assert.ok((await buildLazily(system, 'deb')) > 0, 'lazypull fetched nothing');
    const before = await mainPids(system);
    // An upgrade to the same version does what one to the next does.
    await system.run('dpkg', '--install', deb);
    const upgraded = await mainPids(system);
    assert.notEqual(upgraded['lazypull'], before['lazypull']);
    assert.notEqual(upgraded['lazypull-snapshotter'], before['lazypull-snapshotter']);
    assert.equal(upgraded['lazypull-buildkitd'], before['lazypull-buildkitd']);
    await buildLazily(system, 'upgraded');
    await writeFile(join(system.root, 'etc/containerd-stargz-grpc/config.toml'), '# mine\n');
    await system.run('dpkg', '--remove', 'lazypull');
    const has = (path: string) => existsSync(join(system.root, path));
    assert.deepEqual(
      ['usr/bin/lazypull', 'usr/lib/lazypull', 'etc/containerd-stargz-grpc/config.toml', 'var/lib/lazypull'].map(has),
      [false, false, true, true],
    );
    assert.doesNotMatch(await system.run('cat', '/proc/self/mounts'), /lazypull|containerd-stargz-grpc/);
    assert.match(await system.run('dpkg', '--purge', 'lazypull'), /^lazypull: \/var\/lib\/lazypull stays/m);
    assert.deepEqual(['etc/containerd-stargz-grpc/config.toml', 'var/lib/lazypull'].map(has), [false, true]);
    await system.run('dpkg', '--install', deb);
    await system.run('env', 'LAZYPULL_PURGE_DATA=1', 'dpkg', '--purge', 'lazypull');
    assert.deepEqual(['var/lib/lazypull', 'var/lib/containerd-stargz-grpc', 'usr/bin/lazypull'].map(has), [
      false,
      false,
      false,
    ]);
  });

  /** A system with a buildkitd, as its documentation has one installed: two programs in /usr/local/bin. */
  async function bareSystem(name: string): Promise<BareSystem> {
    const system = await BareSystem.boot(workspace, name);
    for (const program of ['node', 'go']) {
      assert.notEqual((await system.tryRun('sh', '-c', `command -v ${program}`)).status, 0, `it has ${program}`);
    }
    for (const program of Object.values(buildkitTools())) {
      await copyFile(program, join(system.root, 'usr/local/bin', basename(program)));
    }
    return system;
  }

  /** Puts a file into a system, and gives its path there. */
  async function give(system: BareSystem, file: string): Promise<string> {
    await copyFile(file, join(system.root, 'root', basename(file)));
    return join('/root', basename(file));
  }

  async function isFit(system: BareSystem): Promise<void> {
    assert.equal((await system.run('lazypull', '--version')).split(/\s/)[1], version);
    assert.equal((await system.run('containerd-stargz-grpc', '--version')).split(/\s/)[1], version);
    const { status, stdout } = await system.tryRun('lazypull', 'check');
    assert.equal(status, 0, stdout);
  }

  /**
   * Converts the base, builds on it, and sees that buildkitd fetched no layer itself. Gives the bytes that lazypull
   * fetched.
   */
  async function buildLazily(system: BareSystem, name: string): Promise<number> {
    const image = `${relay.host}/base:${name}`;
    await system.run('lazypull', 'convert', `${relay.host}/base:plain`, image);
    const context = join(system.root, 'root', name);
    await mkdir(context);
    await writeFile(join(context, 'Dockerfile'), `FROM ${image}\nRUN cat /data/opaque/shown > /copied # ${name}\n`);
    const since = relay.requests.length;
    const args = ['build', '--frontend=dockerfile.v0', `--local=context=/root/${name}`];
    args.push(`--local=dockerfile=/root/${name}`, `--output=type=local,dest=/root/${name}/out`);
    await until(async () => (await system.tryRun('buildctl', '--addr', socket, 'debug', 'workers')).status === 0);
    await system.run('buildctl', '--addr', socket, ...args);
    assert.equal(await readFile(join(context, 'out/copied'), 'utf8'), 'of the upper layer\n');
    const blobs = relay.requests.slice(since).filter(({ path }) => path.includes('/blobs/'));
    const bytes = (ours: boolean) =>
      blobs.reduce((sum, { agent, bytes }) => sum + (lazypullAgent.test(agent) === ours ? bytes : 0), 0);
    assert.ok(bytes(false) < 100_000, `buildkitd fetched ${bytes(false)} bytes itself`);
    return bytes(true);
  }
});

/** The services, and how exposed systemd may find each: 0 to 100. */
const services = { lazypull: 60, 'lazypull-snapshotter': 60, 'lazypull-buildkitd': 85 };

async function unitsAreSound(system: BareSystem): Promise<void> {
  const units = Object.keys(services).map((name) => `${name}.service`);
  // It ends with 0 whatever it finds.
  const { stderr } = await system.tryRun('systemd-analyze', 'verify', '--man=no', 'lazypull.socket', ...units);
  assert.equal(stderr, '');
  for (const [name, exposure] of Object.entries(services)) {
    await system.run('systemd-analyze', 'security', '--offline=yes', `--threshold=${exposure}`, `${name}.service`);
  }
}

/** The main process of each service. */
async function mainPids(system: BareSystem): Promise<Record<string, string>> {
  const pids: Record<string, string> = {};
  for (const unit of Object.keys(services)) {
    pids[unit] = (await system.run('systemctl', 'show', '--property=MainPID', '--value', unit)).trim();
    assert.notEqual(pids[unit], '0', unit);
  }
  return pids;
}

import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { builderConfig } from '../../release/builder-image.ts';
import { listenerPid } from '../../src/kernel/unix-socket.ts';
import { attachBuildkitd, type Buildkitd, startBuildkitd } from '../support/buildkitd.ts';
import { startContainer } from '../support/container.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { lazypullAgent } from '../support/lab.ts';
import { run } from '../support/program.ts';
import { startRegistry } from '../support/registry-process.ts';
import { Relay, type RelayedRequest } from '../support/relay.ts';
import { copyProgram } from '../support/small-base.ts';
import { buildkitTools, repository, systemTool } from '../support/tools.ts';
import { unpackImage } from '../support/unpacked-image.ts';
import { Workspace } from '../support/workspace.ts';

/** What the launchers and the tests call, in busybox. */
const applets = ['sh', 'dirname', 'basename', 'readlink', 'cat', 'echo', 'id', 'ls', 'mkdir', 'mount'];

/** The Dockerfile of this repository, built by a buildkitd on lazypull for two platforms, and what it gives. */
describe('the image of lazypull', () => {
  const stack = new AsyncDisposableStack();
  let workspace: Workspace;
  let relay: Relay;
  let daemon: Daemon;
  let buildkitd: Buildkitd;
  let image: string;

  before(async () => {
    workspace = stack.use(await Workspace.open('lp-image'));
    const registry = stack.use(await startRegistry(await workspace.directory('registry')));
    relay = stack.use(await Relay.start(registry.port));
    daemon = stack.use(await startDaemon(join(workspace.path, 'lp')));
    buildkitd = stack.use(
      await startBuildkitd(await workspace.directory('bk'), {
        kind: 'oci',
        snapshotter: 'stargz',
        socket: daemon.socket,
      }),
    );
    image = `${relay.host}/lazypull:ci`;
    await pushBases();
    await run(join(repository, 'script', 'package'), [join(workspace.path, 'package'), 'amd64', 'arm64']);
  });
  after(() => stack.disposeAsync());

  test('is built for two platforms on lazy bases', async () => {
    const since = relay.requests.length;
    await buildkitd.build({
      context: repository,
      buildArgs: { NODE: `${relay.host}/node:24`, BASE: `${relay.host}/base:1` },
      args: [
        '--opt=platform=linux/amd64,linux/arm64',
        '--opt=context:package=local:package',
        `--local=package=${join(workspace.path, 'package')}`,
      ],
      output: `type=image,name=${image},push=true,compression=estargz,oci-mediatypes=true`,
    });
    const requests = relay.requests.slice(since).filter(({ path }) => path.includes('/blobs/'));
    const bytes = (chosen: readonly RelayedRequest[]) => chosen.reduce((sum, { bytes }) => sum + bytes, 0);
    const byLazypull = requests.filter(({ method, agent }) => method === 'GET' && lazypullAgent.test(agent));
    assert.ok(byLazypull.length > 0, 'lazypull fetched nothing');
    const byClient = requests.filter(({ method, agent }) => method === 'GET' && !lazypullAgent.test(agent));
    assert.ok(bytes(byClient) < 100_000, `the client fetched ${bytes(byClient)} bytes itself`);
  });

  test('has what belongs to each platform, and nothing else', async () => {
    for (const [arch, cpu] of [
      ['amd64', 'x64'],
      ['arm64', 'arm64'],
    ]) {
      const modules = '/usr/local/lib/node_modules/lazypull/node_modules';
      const listing = (path: string) =>
        run(join(repository, 'bin', 'lazypull'), ['ls', '--json', `--platform=linux/${arch}`, image, path]);
      const libraries = (await listing(`${modules}/@koromix`)).trimEnd().split('\n');
      assert.deepEqual(
        libraries.map((line) => (JSON.parse(line) as { path: string }).path),
        [`${modules}/@koromix/koffi-linux-${cpu}`],
      );
      await assert.rejects(listing(`${modules}/typescript`), /typescript/);
    }
  });

  test('runs in a build, also without root', async () => {
    const context = await workspace.directory('context');
    const dockerfile = `FROM ${image}
RUN lazypull --version && containerd-stargz-grpc --version
USER 65532:65532
RUN [ "$(id -u)" = 65532 ] && [ "$(lazypull cat ${relay.host}/base:1 /etc/base)" = base ]
`;
    await writeFile(join(context, 'Dockerfile'), dockerfile);
    await buildkitd.build({ context });
  });

  test('serves a buildkitd of the host, and one in another container as the compose file has them', async () => {
    const rootfs = join(workspace.path, 'rootfs');
    const exported = await workspace.directory('exported');
    await writeFile(join(exported, 'Dockerfile'), `FROM ${image}\n`);
    await buildkitd.build({ context: exported, output: `type=local,dest=${rootfs}` });
    const state = await workspace.directory('state');
    await run('mount', ['--bind', state, state]);
    await run('mount', ['--make-rshared', state]);
    const commands = await composeCommands(state);
    const socket = join(state, 'snapshotter.sock');
    await using container = await startContainer({
      name: 'lazypull',
      directory: await workspace.directory('lazypull'),
      rootfs,
      args: ['lazypull', ...commands.lazypull, '--log-level', 'debug'],
      env: ['PATH=/usr/local/bin:/bin'],
      volumes: [{ directory: state, propagation: 'rshared' }],
    });
    await container.program.ready(async () => (await listenerPid(socket)) !== undefined);

    {
      await using contained = await startContainer({
        name: 'buildkitd',
        directory: await workspace.directory('buildkitd'),
        rootfs: await makeBuildkitdRoot(),
        args: ['buildkitd', '--root', join(state, 'buildkit'), ...commands.buildkitd],
        env: ['PATH=/bin'],
        volumes: [{ directory: state, propagation: 'rslave' }],
      });
      const builder = await attachBuildkitd(state, contained.program, join(state, 'buildkitd.sock'));
      await buildLazily(builder, 'contained');
    }
    await using ofHost = await startBuildkitd(await workspace.directory('bk2'), {
      kind: 'oci',
      snapshotter: 'stargz',
      socket,
    });
    await buildLazily(ofHost, 'of-host');
    assert.match(container.program.output, /"remote-snapshot-prepared":"true"/);
    await ofHost.program.stop();
    await container.stop();
    assert.match(container.program.outcome ?? '', /^ended with status 0$/);
  });

  test('as a builder keeps all that it has in the volume of the builder', async () => {
    const archive = join(workspace.path, 'builder.tar');
    const programs = await workspace.directory('programs');
    await mkdir(join(programs, 'usr/bin'), { recursive: true });
    const { buildkitd: program, buildctl } = buildkitTools();
    await copyProgram(program, programs, 'usr/bin/buildkitd');
    await copyProgram(buildctl, programs, 'usr/bin/buildctl');
    await copyProgram(systemTool('runc'), programs, 'usr/bin/buildkit-runc');
    await buildkitd.build({
      context: repository,
      buildArgs: { NODE: `${relay.host}/node:24`, BASE: `${relay.host}/base:1`, BUILDKIT: 'programs', PACKAGES: '' },
      args: [
        '--opt=target=builder',
        '--opt=context:package=local:package',
        `--local=package=${join(workspace.path, 'package')}`,
        '--opt=context:programs=local:programs',
        `--local=programs=${programs}`,
      ],
      output: `type=oci,dest=${archive}`,
    });
    const { config, root: rootfs } = await unpackImage(archive, join(workspace.path, 'builder'));
    assert.deepEqual(config.config, builderConfig, 'the image of a release is another one');
    // What runc is linked to here; the one of the real image is static.
    await run('cp', ['--archive', '--no-clobber', `${programs}/.`, rootfs]);
    const volume = await workspace.directory('volume');
    const fetched: string[][] = [];
    for (const life of ['builder-1', 'builder-2']) {
      await using container = await startContainer({
        name: life,
        directory: await workspace.directory(life),
        rootfs,
        // As buildx starts one.
        args: ['lazypull-builder', '--allow-insecure-entitlement=network.host'],
        env: builderConfig.Env,
        volumes: [{ directory: volume, propagation: 'rprivate', target: '/var/lib/buildkit' }],
      });
      const socket = join(rootfs, 'run/buildkit/buildkitd.sock');
      const since = relay.requests.length;
      await buildLazily(await attachBuildkitd(rootfs, container.program, socket), life);
      const blobs = relay.requests.slice(since).filter(({ path }) => path.includes('/blobs/'));
      fetched.push(blobs.filter(({ agent }) => lazypullAgent.test(agent)).map(({ path, range }) => `${path} ${range}`));
    }
    const [first = [], second = []] = fetched;
    assert.ok(first.length > 0, 'lazypull fetched nothing');
    assert.deepEqual(
      second.filter((request) => first.includes(request)),
      [],
      'the second life fetches it again',
    );
  });

  /** Builds on `base:1`, and sees that the client fetches no layer itself. */
  async function buildLazily(builder: Buildkitd, name: string): Promise<void> {
    const context = await workspace.directory(`context-${name}`);
    await writeFile(join(context, 'Dockerfile'), `FROM ${relay.host}/base:1\nRUN cat /etc/base > /copied # ${name}\n`);
    const since = relay.requests.length;
    const tree = join(workspace.path, `tree-${name}`);
    await builder.build({ context, output: `type=local,dest=${tree}` });
    assert.equal(await readFile(join(tree, 'copied'), 'utf8'), 'base\n');
    const pulls = relay.requests
      .slice(since)
      .filter(({ method, path, agent }) => method === 'GET' && path.includes('/blobs/') && !lazypullAgent.test(agent));
    const bytes = pulls.reduce((sum, request) => sum + request.bytes, 0);
    assert.ok(bytes < 100_000, `the client fetched ${bytes} bytes itself`);
  }

  /** The commands of the services of the compose file, for a state in that directory. */
  async function composeCommands(state: string): Promise<Record<'lazypull' | 'buildkitd', string[]>> {
    const file = await readFile(join(repository, 'share/compose/compose.yaml'), 'utf8');
    const commandOf = (service: string): string[] => {
      const [, body = ''] = file.split(`\n  ${service}:\n`);
      const list = /^ {4}command: (\[.*\])$/m.exec(body.split(/^ {2}\w/m)[0]!)?.[1] ?? assert.fail(service);
      return JSON.parse(list.replaceAll('${LAZYPULL_STATE:?}', state)) as string[];
    };
    return { lazypull: commandOf('lazypull'), buildkitd: commandOf('buildkitd') };
  }

  /** What the image of BuildKit has: buildkitd and runc, and a shell. */
  async function makeBuildkitdRoot(): Promise<string> {
    const root = join(workspace.path, 'buildkitd-rootfs');
    for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp', 'etc', 'run', 'var/lib']) {
      await mkdir(join(root, name), { recursive: true });
    }
    await copyProgram(buildkitTools().buildkitd, root, 'bin/buildkitd');
    await copyProgram(systemTool('runc'), root, 'bin/buildkit-runc');
    await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
    return root;
  }

  /**
   * `node:24` and `base:1`, for both platforms and in eStargz: this machine's Node with its libraries, and a busybox.
   * Nothing of the other platform can run.
   */
  async function pushBases(): Promise<void> {
    const context = await workspace.directory('bases');
    const node = join(context, 'node');
    const base = join(context, 'base');
    for (const arch of ['amd64', 'arm64']) {
      await mkdir(join(node, arch, 'usr/local/bin'), { recursive: true });
      await mkdir(join(base, arch, 'etc'), { recursive: true });
      await writeFile(join(base, arch, 'etc/base'), 'base\n');
    }
    await copyFile(process.execPath, join(node, 'amd64/usr/local/bin/node'));
    await writeFile(join(node, 'arm64/usr/local/bin/node'), 'no program\n');
    const root = join(base, 'amd64');
    for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp', 'usr/local', 'var/lib']) {
      await mkdir(join(root, name), { recursive: true });
    }
    await chmod(join(root, 'tmp'), 0o1777);
    await copyProgram('/bin/busybox', root, 'bin/busybox');
    for (const applet of applets) await symlink('busybox', join(root, 'bin', applet));
    await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
    // The libraries of Node come with the base, as in the real one.
    await mkdir(join(root, 'usr/local/bin'), { recursive: true });
    await copyProgram(process.execPath, root, 'node');
    await run('rm', [join(root, 'node')]);
    for (const [name, directory] of [
      ['node:24', 'node'],
      ['base:1', 'base'],
    ]) {
      const dockerfile = `FROM scratch\nARG TARGETARCH\nCOPY ${directory}/$TARGETARCH /\n`;
      await writeFile(join(context, 'Dockerfile'), dockerfile);
      await buildkitd.build({
        context,
        args: ['--opt=platform=linux/amd64,linux/arm64'],
        output: `type=image,name=${relay.host}/${name},push=true,compression=estargz,oci-mediatypes=true,force-compression=true`,
      });
    }
    await buildkitd.buildctl('prune', '--all');
  }
});

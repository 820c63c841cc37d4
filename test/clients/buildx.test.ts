import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Engine, startEngine } from '../support/engine.ts';
import { lazypullAgent } from '../support/lab.ts';
import { freePort } from '../support/ports.ts';
import { run } from '../support/program.ts';
import { registryLogin, startRegistry, wantPasswords } from '../support/registry-process.ts';
import { Relay } from '../support/relay.ts';
import { version } from '../support/release.ts';
import { pushSmallBase } from '../support/small-base.ts';
import { repository } from '../support/tools.ts';
import { Workspace } from '../support/workspace.ts';

const builder = 'lazy';
const container = `buildx_buildkit_${builder}0`;

/** The base has 24 MiB that no build reads. */
const mostOfTheBase = 20_000_000;

/** The image of a release, as `docker buildx create` starts it. */
describe('a builder that buildx starts', () => {
  const stack = new AsyncDisposableStack();
  let workspace: Workspace;
  let relay: Relay;
  let engine: Engine;
  let image: string;
  let builds = 0;

  before(async () => {
    workspace = stack.use(await Workspace.open('lp-buildx'));
    const registry = stack.use(await startRegistry(await workspace.directory('registry')));
    relay = stack.use(await Relay.start(registry.port));
    await pushSmallBase(join(workspace.path, 'make'), relay.host, 'base');
    image = `${relay.host}/base:plain`;
    const release = await workspace.directory('release');
    await run(join(repository, 'script', 'release'), ['--dry-run', '--arch=amd64', `--output=${release}`]);
    const archive = (await readdir(release)).find((name) => name.endsWith('.oci.tar'));
    engine = stack.use(await startEngine(await workspace.directory('engine'), '29'));
    stack.defer(async () => void (await engine.tryDocker('buildx', 'rm', '--force', builder)));
    await engine.docker('load', '--input', join(release, archive!));
  });
  after(() => stack.disposeAsync());

  test('pulls an unmodified base once, tells that it is lazy, and pushes', async () => {
    await create();
    const told = await engine.docker('buildx', 'inspect', '--bootstrap', builder);
    assert.match(told, /^Status: +running$/m);
    assert.match(told, /^BuildKit version: +v\d/m);
    assert.match(told, /worker\.snapshotter: +stargz$/m);
    const { byClient } = await build('--push', '--tag', `${relay.host}/pushed:1`);
    assert.ok(byClient < 100_000, `buildkitd fetched ${byClient} bytes itself`);
    assert.match(
      await engine.docker('exec', container, 'lazypull', 'why', image),
      /lazy: pulled here in .*, index made/,
    );
    assert.match(await engine.docker('exec', container, 'lazypull', 'report'), /^Since .*: fetched /);
    assert.match(await engine.docker('buildx', 'du', '--builder', builder), /^Total:/m);
  });

  test('is lazy at once after prune and stop, and when it is made anew with its volume', async () => {
    await engine.docker('buildx', 'prune', '--builder', builder, '--all', '--force');
    await engine.docker('buildx', 'stop', builder);
    await fetchesNothing('after a stop');
    await engine.docker('buildx', 'rm', '--keep-state', builder);
    await create();
    await fetchesNothing('made anew');
  });

  test('fetches what the engine needs of the base if the image is loaded', async () => {
    const { output } = await build('--load', '--tag', 'loaded:1');
    // What the guide says about finding out whether a base was lazy.
    assert.match(output, /^#\d+ sha256:[0-9a-f]{64} [\d.]+[kM]B \/ /m);
    assert.equal(
      (await engine.docker('run', '--rm', '--network=none', 'loaded:1', 'cat', '/copied')).trim(),
      'of the upper layer',
    );
  });

  test('is lazy from its first build on with the indexes of a team', async () => {
    await engine.docker('buildx', 'rm', builder);
    const indexes = `${relay.host}/team/indexes`;
    await run(join(repository, 'bin', 'lazypull'), ['index', image, '--push', '--repository', indexes]);
    await create('--driver-opt', `env.LAZYPULL_INDEX_REPOSITORY=${indexes}`);
    const { byUs, byClient, output } = await build('--push', '--tag', `${relay.host}/pushed:2`);
    assert.ok(byClient < 100_000, `buildkitd fetched ${byClient} bytes itself`);
    assert.ok(byUs > 0 && byUs < mostOfTheBase, `lazypull fetched ${byUs} bytes`);
    assert.doesNotMatch(output, /^#\d+ sha256:[0-9a-f]{64} [\d.]+[kM]B \/ /m);
  });

  test('builds on a private base without a login of its own, and its log says what to do', async () => {
    await engine.docker('buildx', 'rm', builder);
    const port = await freePort();
    const settings = { auth: await wantPasswords(join(workspace.path, 'htpasswd')) };
    const data = join(workspace.path, 'registry', 'blobs');
    await using closed = await startRegistry(await workspace.directory('closed'), data, port, settings);
    const auths = { [closed.host]: { auth: Buffer.from(registryLogin).toString('base64') } };
    const config = join(workspace.path, 'engine', 'config', 'config.json');
    await writeFile(config, JSON.stringify({ auths }));
    await create();
    image = `${closed.host}/base:plain`;
    await build();
    const logs = await engine.tryDocker('logs', container);
    const path = '/root/.docker/config.json';
    assert.ok(
      logs.stderr.includes(`in a container, mount or copy the config.json of that login to \\"${path}\\"`),
      logs.stderr,
    );
    await engine.docker('cp', config, `${container}:${path}`);
    await engine.docker('buildx', 'prune', '--builder', builder, '--all', '--force');
    await build();
    assert.match(await engine.docker('exec', container, 'lazypull', 'why', image), / lazy: pulled here /);
  });

  /** Builds, and sees that no layer is fetched; the configuration of the image may be. */
  async function fetchesNothing(when: string): Promise<void> {
    const { byUs, byClient } = await build();
    assert.ok(byUs === 0 && byClient < 100_000, `${when}: lazypull fetched ${byUs} bytes, buildkitd ${byClient}`);
  }

  async function create(...more: readonly string[]): Promise<void> {
    const options = ['--driver', 'docker-container', '--driver-opt', `image=lazypull-builder:${version},network=host`];
    await engine.docker('buildx', 'create', '--name', builder, ...options, ...more);
  }

  /** Builds on the base. Gives what came of blobs to lazypull and to the builder's client, and the output. */
  async function build(...more: readonly string[]): Promise<{ byUs: number; byClient: number; output: string }> {
    const context = await workspace.directory('context');
    const dockerfile = `FROM ${image}\nRUN cat /data/opaque/shown > /copied # ${builds++}\n`;
    await writeFile(join(context, 'Dockerfile'), dockerfile);
    const since = relay.requests.length;
    const options = ['--builder', builder, '--progress', 'plain', '--provenance=false', ...more];
    const { status, stdout, stderr } = await engine.tryDocker('buildx', 'build', ...options, context);
    assert.equal(status, 0, `${stdout}${stderr}`);
    const blobs = relay.requests
      .slice(since)
      .filter(({ method, path }) => method === 'GET' && /\/base\/blobs\//.test(path));
    const bytes = (ours: boolean) =>
      blobs.reduce((sum, { agent, bytes }) => sum + (lazypullAgent.test(agent) === ours ? bytes : 0), 0);
    return { byUs: bytes(true), byClient: bytes(false), output: stderr };
  }
});

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { encodeArtifact, type IndexArtifact, parseArtifact, tagOfLayer } from '../../src/indexes/artifact.ts';
import { sha256 } from '../../src/chunks/digest.ts';
import { ociManifest } from '../../src/images/media-types.ts';
import { RegistryClient } from '../../src/registry/client.ts';
import { parseReference } from '../../src/registry/reference.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { run } from '../support/program.ts';
import { getManifest, gzipLayer, type Manifest, pushImage } from '../support/push-image.ts';
import { type RegistryProcess, startRegistry } from '../support/registry-process.ts';
import { Relay } from '../support/relay.ts';
import { SnapshotsClient } from '../support/snapshots-client.ts';
import { repository } from '../support/tools.ts';
import { assertSameTree, describeTree, withoutRoot } from '../support/tree.ts';
import { Workspace } from '../support/workspace.ts';
import { until } from '../support/until.ts';

const lazypull = join(repository, 'bin', 'lazypull');
const quiet = 'no_background_fetch = true\nnoprefetch = true\n';

let workspace: Workspace;
let registry: RegistryProcess;
let relay: Relay;
let image: string;
let manifest: Manifest;
let machines = 0;

before(async () => {
  workspace = await Workspace.open('lp-shared');
  registry = await startRegistry(await workspace.directory('registry'));
  relay = await Relay.start(registry.port);
  const layers = [];
  for (const [name, paths] of Object.entries({ bin: ['usr/sbin', 'usr/bin'], perl: ['usr/share/perl5'] })) {
    const tar = join(workspace.path, `${name}.tar`);
    await run('tar', ['--numeric-owner', '--sort=name', '--ignore-failed-read', '-C', '/', '-cf', tar, ...paths]);
    layers.push(await gzipLayer(tar, `${tar}.gz`));
  }
  await pushImage(registry.host, 'base', '1', layers);
  manifest = (await getManifest(registry.host, 'base', '1'))!;
  image = `${relay.host}/base:1`;
});
after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
  await workspace?.[Symbol.asyncDispose]();
});

/** A machine of its own, whose daemon has `[index]` like that. */
class Machine implements AsyncDisposable {
  readonly daemon: Daemon;
  readonly #client: SnapshotsClient;
  #mounts = 0;

  static async start(index: string): Promise<Machine> {
    const directory = join(workspace.path, `m${machines++}`);
    return new Machine(await startDaemon(directory, 'debug', `${quiet}[index]\n${index}\n`));
  }

  private constructor(daemon: Daemon) {
    this.daemon = daemon;
    this.#client = new SnapshotsClient(daemon.socket);
  }

  /** Prepares the image. @returns how each of its layers came to be */
  async prepare(): Promise<string[]> {
    await this.#client.prepareImage('image', image, manifest.layers);
    const lines = this.daemon.log().filter(({ msg }) => msg === 'prepared remote snapshot');
    return lines.map(({ how }) => String(how));
  }

  /** What its files are, each of them read. */
  async tree(): Promise<string[]> {
    const directory = join(this.daemon.root, '..', `mnt-${this.#mounts++}`);
    await this.#client.mount(`image-${manifest.layers.length - 1}`, directory);
    try {
      return withoutRoot(await describeTree(directory));
    } finally {
      await this.#client.unmount(directory);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (let layer = manifest.layers.length - 1; layer >= 0; layer--) {
      await this.#client.remove(`image-${layer}`).catch(() => undefined);
    }
    this.#client[Symbol.dispose]();
    await this.daemon[Symbol.asyncDispose]();
  }
}

/** Bytes of the image's layers that came through the relay since request `since`. */
function layerBytes(since: number): number {
  const digests = manifest.layers.map(({ digest }) => digest);
  const ofLayers = relay.requests.slice(since).filter(({ path }) => digests.some((digest) => path.includes(digest)));
  return ofLayers.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Waits until the repository has the indexes of all layers. */
async function published(name: string): Promise<void> {
  for (const { digest } of manifest.layers) {
    await until(() => getManifest(registry.host, name, tagOfLayer(digest)), `an index of ${digest} is in ${name}`);
  }
}

test('One of five machines pulls an image, and the others are lazy by what it has pushed', async () => {
  const index = `repository = "${relay.host}/team/indexes"`;
  const total = manifest.layers.reduce((sum, { size }) => sum + size, 0);
  await using first = await Machine.start(`${index}\npush = true`);
  for (const how of await first.prepare()) assert.match(how, /^pulled here in .*index made$/);
  const expected = await first.tree();
  await published('team/indexes');
  const others = await Promise.all(Array.from({ length: 4 }, () => Machine.start(index)));
  await using stack = new AsyncDisposableStack();
  for (const machine of others) stack.use(machine);
  const since = relay.requests.length;
  const how = await Promise.all(others.map((machine) => machine.prepare()));
  for (const text of how.flat()) assert.match(text, /^by an index found in "localhost:\d+\/team\/indexes"$/);
  assert.ok(layerBytes(since) < total, `four lazy machines fetched ${layerBytes(since)} bytes before a read`);
  for (const machine of others) assertSameTree(await machine.tree(), expected);
});

test('An index that came from the repository is used without it, once it is here', async () => {
  const index = `repository = "${relay.host}/team/indexes"`;
  await using machine = await Machine.start(index);
  await machine.prepare();
  await until(async () => {
    const listed = await run(lazypull, ['index', 'ls', '--json', '--root', machine.daemon.root]);
    return listed.trim().split('\n').filter(Boolean).length === manifest.layers.length;
  }, 'the indexes are in the store');
  const file = join(workspace.path, 'indexes.tar');
  await run(lazypull, ['index', 'export', '--root', machine.daemon.root, file]);
  const verified = await run(lazypull, ['index', 'verify', file, '--image', image]);
  assert.equal(verified.match(/ right\n/g)?.length, manifest.layers.length);
  await using other = await Machine.start('');
  await run(lazypull, ['index', 'import', '--root', other.daemon.root, file]);
  for (const text of await other.prepare()) assert.match(text, /^by an index imported from "indexes\.tar"$/);
});

test('Indexes that lie are not used: the image is pulled, and why is said', async () => {
  await using client = new RegistryClient();
  const name = `${registry.host}/liars`;
  const [first, second] = await Promise.all(manifest.layers.map(({ digest }) => indexOf(client, digest)));
  const offer = async (bytes: Buffer, index: IndexArtifact): Promise<void> => {
    const reference = parseReference(`${name}:${tagOfLayer(index.layer)}`);
    await client.pushBlob(reference, { digest: sha256(bytes), size: bytes.length }, bytes);
    const config = Buffer.from('{}');
    await client.pushBlob(reference, { digest: sha256(config), size: config.length }, config);
    await client.pushManifest(reference, ociManifest, encodeArtifact(index));
  };
  const tailOf = (bytes: Buffer, length: number) => ({ bytes: length, digest: sha256(bytes.subarray(-length)) });
  const flipped = Buffer.from(first!.bytes);
  flipped[flipped.length - 100]! ^= 1;
  const truncated = first!.bytes.subarray(0, -1);
  const { layer, tail } = first!.index;
  const liars: Record<string, () => Promise<void>> = {
    'of another layer': () => offer(second!.bytes, { ...second!.index, layer }),
    'a flipped bit': () =>
      offer(flipped, {
        layer,
        digest: sha256(flipped),
        size: flipped.length,
        tail: tailOf(flipped, tail.bytes),
      }),
    'a flipped bit that its digest shows': () =>
      offer(flipped, { layer, digest: sha256(flipped), size: flipped.length, tail }),
    truncated: () =>
      offer(truncated, {
        layer,
        digest: sha256(truncated),
        size: truncated.length,
        tail: tailOf(truncated, tail.bytes),
      }),
  };
  for (const [what, make] of Object.entries(liars)) {
    await make();
    await using machine = await Machine.start(`repository = "${relay.host}/liars"`);
    const [how] = await machine.prepare();
    assert.match(how!, /^pulled here in /, what);
    const complaints = machine.daemon.log().filter(({ level }) => level === 'warn' || level === 'error');
    assert.ok(
      complaints.some((line) => line['layer'] === layer),
      `${what}: nothing is said`,
    );
  }
});

test('Only signed indexes are used if keys are trusted, and "lazypull index --sign" makes them', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const keyFile = join(workspace.path, 'key.pem');
  const config = join(workspace.path, 'index.toml');
  await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const index = `repository = "${relay.host}/signed"\ntrusted_keys = [${JSON.stringify(pem)}]`;
  await writeFile(config, `[index]\n${index}\n`);
  const push = ['index', image, '--push', '--config', config];
  await run(lazypull, push);
  {
    await using machine = await Machine.start(index);
    for (const how of await machine.prepare()) assert.match(how, /^pulled here in /);
    const warned = machine.daemon.log().filter(({ msg }) => String(msg).includes('it is not signed'));
    assert.equal(warned.length, manifest.layers.length);
  }
  assert.match(await run(lazypull, [...push, '--sign', keyFile]), /made/);
  assert.doesNotMatch(await run(lazypull, [...push, '--sign', keyFile]), /made/);
  await using machine = await Machine.start(index);
  for (const how of await machine.prepare()) assert.match(how, /^by an index found in /);
});

test('A repository that does not answer, or is gone, delays no layer for long', async () => {
  const hanging = /team\/indexes/;
  relay.intercept = ({ path }) => (hanging.test(path) ? new Promise(() => undefined) : undefined);
  try {
    await using machine = await Machine.start(`repository = "${relay.host}/team/indexes"`);
    for (const how of await machine.prepare()) assert.match(how, /^pulled here in /);
  } finally {
    relay.intercept = undefined;
  }
  await using machine = await Machine.start('repository = "localhost:1/team/indexes"');
  for (const how of await machine.prepare()) assert.match(how, /^pulled here in /);
  const warned = machine.daemon.log().filter(({ msg }) => msg === 'Cannot look up indexes of layers');
  assert.equal(warned.length, 1);
});

/** The index of a layer in the repository that all share. */
async function indexOf(client: RegistryClient, layer: string): Promise<{ bytes: Buffer; index: IndexArtifact }> {
  const reference = parseReference(`${registry.host}/team/indexes:${tagOfLayer(layer)}`);
  const index = parseArtifact((await client.manifest(reference)).bytes, layer);
  const blob = client.blob(reference, index.digest);
  return { bytes: Buffer.concat(await Array.fromAsync(blob.range(0, index.size))), index };
}

import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { tagOfLayer } from '../../src/indexes/artifact.ts';
import { type Buildkitd, startBuildkitd } from '../support/buildkitd.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { Farm, type FarmNode, hasTag, nobodysIp, plainHttp } from '../support/farm.ts';
import { run } from '../support/program.ts';
import { getManifest, type Manifest } from '../support/push-image.ts';
import type { RegistryProcess } from '../support/registry-process.ts';
import { pushSmallBase } from '../support/small-base.ts';
import { repository } from '../support/tools.ts';
import { until } from '../support/until.ts';

const machines = 5;
const ports = { images: 5000, indexes: 5001, hanging: 5002, readOnly: 5003, nothing: 5009 };
const indexName = 'team/indexes';
const quiet = 'no_background_fetch = true\nnoprefetch = true\n';
const dockerfile = `ARG BASE
FROM \${BASE} AS base
RUN sha256sum /data/many/file-7 /data/many/file-399 /etc/group > /sums
FROM scratch
COPY --from=base /sums /sums
`;

let farm: Farm;
let images: RegistryProcess;
let indexes: RegistryProcess;
let manifest: Manifest;
let image: string;
let context: string;
/** Where the blobs of the index repository are. */
let indexData: string;
/** What the build gives. */
let expected: string;
let started = 0;

before(async () => {
  farm = await Farm.open(machines);
  const { path } = farm.workspace;
  const imageData = join(path, 'images');
  indexData = join(path, 'indexes');
  await farm.fill('fill', imageData, async (host) => {
    await pushSmallBase(join(path, 'make'), host, 'base');
    manifest = (await getManifest(host, 'base', 'plain'))!;
  });
  images = await farm.registry('images-registry', ports.images, imageData);
  indexes = await farm.registry('indexes-registry', ports.indexes, indexData);
  image = `${images.host}/base:plain`;
  context = await farm.workspace.directory('context');
  await writeFile(join(context, 'Dockerfile'), dockerfile);
});
after(async () => {
  await indexes?.[Symbol.asyncDispose]();
  await images?.[Symbol.asyncDispose]();
  await farm?.[Symbol.asyncDispose]();
});

/** A lazy builder that was never used, on a machine of the farm. */
class Builder implements AsyncDisposable {
  readonly daemon: Daemon;
  readonly #node: FarmNode;
  readonly #directory: string;
  readonly #buildkitd: Buildkitd;

  /** @param index the `[index]` of its daemon; `prepare` is given the daemon's root before that starts */
  static async start(node: FarmNode, index: string, prepare?: (root: string) => Promise<void>): Promise<Builder> {
    const directory = join(farm.workspace.path, `b${started++}`);
    const state = join(directory, 'lp');
    await prepare?.(join(state, 'root'));
    const hosts = [images.host, ...new Set(index.match(/[\d.]+:\d+/g))].map(plainHttp).join('');
    const daemon = await startDaemon(state, 'debug', `${quiet}[index]\n${index}\n${hosts}`, {}, node.launcher);
    const worker = { kind: 'oci', snapshotter: 'stargz', socket: daemon.socket } as const;
    const toml = `[registry."${images.host}"]\nhttp = true\n`;
    const buildkitd = await startBuildkitd(join(directory, 'bk'), worker, toml, node.launcher);
    return new Builder(node, directory, daemon, buildkitd);
  }

  private constructor(node: FarmNode, directory: string, daemon: Daemon, buildkitd: Buildkitd) {
    this.#node = node;
    this.#directory = directory;
    this.daemon = daemon;
    this.#buildkitd = buildkitd;
  }

  /** Builds on the image. @returns what the build saw, and how many bytes the machine received for it */
  async build(): Promise<{ sums: string; bytes: number }> {
    const out = join(this.#directory, 'out');
    const before = await this.#node.received();
    await this.#buildkitd.build({ context, buildArgs: { BASE: image }, output: `type=local,dest=${out}` });
    const bytes = (await this.#node.received()) - before;
    return { sums: await readFile(join(out, 'sums'), 'utf8'), bytes };
  }

  /** What `lazypull why` says of each layer of the image, all of which are lazy. */
  async why(): Promise<string[]> {
    const [command, ...args] = this.#node.launcher;
    const config = join(this.daemon.root, '..', 'config.toml');
    const lazypull = join(repository, 'bin', 'lazypull');
    const flags = ['why', '--json', '--address', this.daemon.socket, '--config', config, image];
    const printed = (await run(command, [...args, lazypull, ...flags])).trim().split('\n');
    const verdicts = printed.map((line) => JSON.parse(line) as { verdict: string; message: string });
    for (const { verdict } of verdicts) assert.equal(verdict, 'lazy');
    return verdicts.map(({ message }) => message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#buildkitd[Symbol.asyncDispose]();
    await this.daemon[Symbol.asyncDispose]();
  }
}

test('Five builders share an index repository: one pulls, and four are lazy from their first build on', async () => {
  const index = `repository = "${indexes.host}/${indexName}"`;
  const total = manifest.layers.reduce((sum, { size }) => sum + size, 0);
  const [first, ...others] = farm.nodes;
  {
    await using builder = await Builder.start(first!, `${index}\npush = true`);
    const { sums, bytes } = await builder.build();
    expected = sums;
    assert.ok(bytes >= total, `the first builder received ${bytes} bytes of an image of ${total}`);
    for (const text of await builder.why()) assert.match(text, /^pulled here in .*index made$/);
    for (const { digest } of manifest.layers) {
      await until(() => hasTag(indexData, indexName, tagOfLayer(digest)), `no index of ${digest} was pushed`);
    }
  }
  await Promise.all(
    others.map(async (node) => {
      await using builder = await Builder.start(node, index);
      const { sums, bytes } = await builder.build();
      assert.equal(sums, expected);
      for (const text of await builder.why())
        assert.match(text, /^by an index found in "10\.77\.0\.1:5001\/team\/indexes"$/);
      assert.ok(bytes < total / 3, `${node.name} received ${bytes} bytes of an image of ${total}`);
    }),
  );
});

test('Builders whose index repository fails build the same, and say what is wrong', async () => {
  const repositoryAt = (host: string): string => `repository = "${host}/${indexName}"`;
  const serverIp = indexes.host.split(':')[0]!;
  await using hanging = await farm.registry('hanging-registry', ports.hanging, indexData);
  const empty = await farm.workspace.directory('read-only');
  await using readOnly = await farm.registry('read-only-registry', ports.readOnly, empty, true);
  const pulled = /^pulled here in /;
  const cases: [index: string, how: RegExp, warning: string, prepare?: (root: string) => Promise<void>][] = [
    [repositoryAt(`${serverIp}:${ports.nothing}`), pulled, 'Cannot look up indexes of layers'],
    [repositoryAt(`${nobodysIp}:${ports.indexes}`), pulled, 'Cannot look up indexes of layers'],
    [repositoryAt(hanging.host), pulled, 'Cannot look up indexes of layers'],
    [`${repositoryAt(readOnly.host)}\npush = true`, pulled, 'Cannot push the index of a layer'],
    [repositoryAt(indexes.host), /^by an index found in /, 'Removes a layer index that is damaged', damagedIndexes],
  ];
  process.kill(hanging.program.pid, 'SIGSTOP');
  try {
    await Promise.all(
      cases.map(async ([index, how, warning, prepare], i) => {
        await using builder = await Builder.start(farm.nodes[i]!, index, prepare);
        const { sums } = await builder.build();
        assert.equal(sums, expected);
        const prepared = builder.daemon.log().filter(({ msg }) => msg === 'prepared remote snapshot');
        assert.equal(prepared.length, manifest.layers.length);
        for (const line of prepared) assert.match(String(line['how']), how);
        const isSaid = () => builder.daemon.log().some(({ level, msg }) => level === 'warn' && msg === warning);
        await until(isSaid, `machine ${i} does not warn "${warning}"`);
      }),
    );
  } finally {
    process.kill(hanging.program.pid, 'SIGCONT');
  }
});

/** Gives a daemon the indexes that the first builder made, each with a flipped bit. */
async function damagedIndexes(root: string): Promise<void> {
  await mkdir(root, { recursive: true });
  const directory = join(root, 'indexes');
  await cp(join(farm.workspace.path, 'b0', 'lp', 'root', 'indexes'), directory, { recursive: true });
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const bytes = await readFile(path);
    bytes[20]! ^= 1;
    await writeFile(path, bytes);
  }
}

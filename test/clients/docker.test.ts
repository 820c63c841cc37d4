import assert from 'node:assert/strict';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { engineVersions } from '../support/engine.ts';
import { Lab } from '../support/lab.ts';
import { LazyEngine } from '../support/lazy-engine.ts';
import { run } from '../support/program.ts';
import { getManifest, type Manifest } from '../support/push-image.ts';

const sleeper = ['--network', 'none', '--detach'];
const sleep = ['/bin/busybox', 'sleep', '3600'];

let lab: Lab;
let esgz: string;
let plain: Manifest;

before(async () => {
  lab = await Lab.open();
  esgz = lab.reference('base:esgz');
  plain = (await getManifest(lab.relay.host, 'base', 'plain'))!;
});
after(() => lab?.[Symbol.asyncDispose]());

for (const version of engineVersions) {
  describe(`Docker Engine ${version}`, () => {
    let docker: LazyEngine;
    before(async () => {
      docker = await LazyEngine.start(lab, version);
    });
    after(() => docker?.[Symbol.asyncDispose]());

    /** What was fetched of the layers of an image from request number `since` on, as a part of their size. */
    const fetchedPart = (since: number, layers: Manifest['layers']): number => {
      const requests = lab.relay.requests
        .slice(since)
        .filter(({ method, path }) => method === 'GET' && layers.some(({ digest }) => path.includes(digest)));
      return sum(requests.map(({ bytes }) => bytes)) / sum(layers.map(({ size }) => size));
    };

    /** The output of a command in a container that is removed then. */
    const output = (image: string, command: string) =>
      docker.docker('run', '--rm', '--network', 'none', image, '/bin/sh', '-c', command);

    const readFile7 = 'sha256sum < /data/many/file-7';

    test('pulls and runs an eStargz image of which a part was fetched, and has none of its layers', async () => {
      const since = lab.relay.requests.length;
      await docker.docker('pull', esgz);
      assert.match(await output(esgz, 'cat /etc/group'), /^root:x:0:\n$/);
      assert.deepEqual(lab.pulls(since), [], 'Docker pulled a layer');
      assert.ok(fetchedPart(since, lab.base.layers) < 0.5);
      assert.deepEqual((await docker.content()).toSorted(), [lab.base.digest, lab.base.config.digest].toSorted());
    });

    test('shows what it has in lists', async () => {
      assert.match(await docker.docker('images', '--format', '{{.Repository}}:{{.Tag}}'), new RegExp(`^${esgz}$`, 'm'));
      assert.match(await docker.docker('system', 'df'), /^Images +1 /m);
      assert.match(await docker.docker('image', 'inspect', '--format', '{{.Id}}', esgz), /^sha256:/);
      assert.match(await docker.docker('history', esgz), /buildkit/);
    });

    test('runs a container through restarts of the Engine and of the daemon', async () => {
      const id = (await docker.docker('run', ...sleeper, esgz, ...sleep)).trim();
      const read = (file: number) => docker.docker('exec', id, '/bin/sha256sum', `/data/many/file-${file}`);
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await docker.restartEngine(signal);
        assert.equal((await docker.docker('ps', '--quiet', '--no-trunc')).trim(), id);
        await read(20);
      }
      await docker.killDaemon(() => read(21));
      await read(22);
      await docker.docker('restart', '--time', '0', id);
      await read(23);
      await docker.docker('rm', '--force', id);
    });

    test('copies, compares and commits a container', async () => {
      const id = (await docker.docker('run', ...sleeper, esgz, ...sleep)).trim();
      await docker.docker('exec', id, '/bin/sh', '-c', 'echo new > /data/new && rm /data/many/file-3');
      const changes = (await docker.docker('diff', id)).trim().split('\n').toSorted();
      assert.deepEqual(changes, ['A /data/new', 'C /data', 'C /data/many', 'D /data/many/file-3']);
      const target = join(await mkdtemp(join(lab.workspace.path, 'cp-')), 'group');
      await docker.docker('cp', `${id}:/etc/group`, target);
      assert.equal(await readFile(target, 'utf8'), 'root:x:0:\n');
      await docker.docker('commit', id, `committed:${version}`);
      assert.equal(await output(`committed:${version}`, 'cat /data/new; ls /data/many | wc -l'), 'new\n399\n');
      await docker.docker('rm', '--force', id);
    });

    test('pushes a lazy image beside itself without its layers, and saves it once they are fetched', async () => {
      const since = lab.relay.requests.length;
      const copy = lab.reference(`copy-${version}:1`);
      await docker.docker('tag', esgz, copy);
      await docker.docker('push', copy);
      assert.deepEqual(lab.pulls(since), [], 'Docker pulled a layer');
      assert.equal((await getManifest(lab.relay.host, `copy-${version}`, '1'))?.digest, lab.base.digest);

      const tar = join(lab.workspace.path, `saved-${version}.tar`);
      await docker.docker('save', '--output', tar, esgz);
      const layers = lab.base.layers.map(({ digest }) => `blobs/sha256/${digest.slice('sha256:'.length)}`);
      const isSaved = async () => {
        const names = (await run('tar', ['-tf', tar])).split('\n');
        return layers.map((name) => names.includes(name));
      };
      assert.deepEqual(await isSaved(), [false, false], 'the guide says that docker save leaves layers out');
      await docker.ctr('content', 'fetch', '--plain-http', esgz);
      await docker.docker('save', '--output', tar, esgz);
      assert.deepEqual(await isSaved(), [true, true]);
      await docker.docker('tag', `committed:${version}`, `${copy}-committed`);
      await docker.docker('push', `${copy}-committed`);
    });

    test('pulls an unmodified image here the first time, and by its index the second time', async () => {
      const image = lab.reference('base:plain');
      const first = lab.relay.requests.length;
      await docker.docker('pull', image);
      const expected = await output(image, readFile7);
      assert.deepEqual(lab.pulls(first, plain.layers), [], 'Docker pulled a layer');
      await docker.forgetLayers();
      const second = lab.relay.requests.length;
      await docker.docker('pull', image);
      assert.equal(await output(image, readFile7), expected);
      assert.deepEqual(lab.pulls(second, plain.layers), [], 'Docker pulled a layer');
      assert.ok(fetchedPart(second, plain.layers) < 0.5);
    });

    test('builds on a base of which a part is read, and pushes without what it keeps nothing of', async () => {
      const context = await lab.context(`engine-${version}`, `FROM ${esgz}\nRUN ${readFile7} > /sum\n`);
      await docker.forgetLayers();
      const since = lab.relay.requests.length;
      const build = (...more: string[]) => docker.docker('build', '--network', 'none', ...more, context);
      await build('--output', 'type=cacheonly');
      const name = lab.reference(`base:built-${version}`);
      await build('--output', `type=image,name=${name},push=true,store=false,unpack=false`);
      assert.deepEqual(lab.pulls(since), [], 'Docker pulled a layer');
      assert.ok(fetchedPart(since, lab.base.layers) < 0.5);
      await build('--tag', `built:${version}`);
      assert.equal(
        lab.pulls(since).length,
        lab.base.layers.length,
        'the guide says that an image that is kept needs them',
      );
      assert.equal(await output(`built:${version}`, 'cat /sum'), await output(name, 'cat /sum'));
    });

    test('runs with compose', async () => {
      const context = await lab.context(`compose-${version}`, `FROM ${esgz}\n`);
      const file = join(context, 'compose.yaml');
      const service = {
        image: esgz,
        network_mode: 'none',
        command: ['/bin/sh', '-c', `${readFile7} && cat /etc/group`],
      };
      await writeFile(file, JSON.stringify({ name: `lazy-${version}`, services: { reader: service } }));
      await docker.forgetLayers();
      const since = lab.relay.requests.length;
      await docker.docker('compose', '--file', file, 'up', '--detach', '--wait', '--pull', 'always').catch(() => '');
      await docker.docker('compose', '--file', file, 'wait', 'reader').catch(() => '');
      assert.match(await docker.docker('compose', '--file', file, 'logs', 'reader'), /root:x:0:/);
      await docker.docker('compose', '--file', file, 'down');
      assert.deepEqual(lab.pulls(since), [], 'Docker pulled a layer');
      assert.ok(fetchedPart(since, lab.base.layers) < 0.5);
    });

    test('runs an image that lazypull pulled for it', async () => {
      await docker.forgetLayers();
      const since = lab.relay.requests.length;
      await docker.lazypull('pull', '--address', docker.containerd.address, '--namespace', 'moby', esgz);
      const run = ['run', '--rm', '--network', 'none', '--pull', 'never', esgz, '/bin/cat', '/etc/group'];
      assert.equal(await docker.docker(...run), 'root:x:0:\n');
      assert.deepEqual(lab.pulls(since), [], 'a layer was pulled');
      assert.ok(fetchedPart(since, lab.base.layers) < 0.5);
    });

    test('fetches through the mirror no byte twice, not even for what it keeps or saves', async () => {
      await docker.forgetLayers();
      await using _mirror = await docker.useMirror(lab.relay.host);
      const context = await lab.context(`mirror-${version}`, `FROM ${esgz}\nRUN ${readFile7} > /sum\n`);
      const since = lab.relay.requests.length;
      await docker.docker('build', '--network', 'none', '--tag', `mirrored:${version}`, context);
      const tar = join(lab.workspace.path, `mirrored-${version}.tar`);
      await docker.docker('save', '--output', tar, `mirrored:${version}`);
      assert.deepEqual(lab.pulls(since), [], 'Docker fetched a layer past the mirror');
      // Both ends of a range that was asked for again.
      assert.ok(fetchedPart(since, lab.base.layers) < 1.05, `${fetchedPart(since, lab.base.layers)}`);
    });
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

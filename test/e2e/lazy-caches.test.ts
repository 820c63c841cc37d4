import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { BuildRequest } from '../support/buildkitd.ts';
import { type Builder, Lab } from '../support/lab.ts';
import { run } from '../support/program.ts';
import { getManifest, type Manifest } from '../support/push-image.ts';
import { contentOf, releaseAll } from '../support/stores.ts';

/** Builds give another digest each time they are not taken from a cache. */
const first = 'RUN cat /proc/sys/kernel/random/uuid > /first\n';
const second = 'RUN cat /proc/sys/kernel/random/uuid > /second\n';
const estargz = 'compression=estargz';
/**
 * Without force, BuildKit looks for other compressions of each layer in its store, and leaves results with lazy layers
 * out of a cache.
 */
const gzip = 'compression=gzip,force-compression=true';
/** Lets an image into containerd's store without the blobs of its lazy layers, as BuildKit's own tests do. */
const incomplete = 'store=true,unsafe-internal-store-allow-incomplete=true';

let lab: Lab;
let once: string;
let twice: string;
/** An image that was built on a pulled base, with an inline cache and one in the registry. */
let cached: Manifest;

before(async () => {
  lab = await Lab.open();
  once = await lab.context('once', `ARG BASE\nFROM \${BASE}\n${first}`);
  twice = await lab.context('twice', `ARG BASE\nFROM \${BASE}\n${first}${second}`);
  await using builder = await lab.builder('pulled', 'oci', false);
  const cache = `type=registry,ref=${lab.reference('built:cache')},mode=max,compression=estargz`;
  await builder.buildkitd.build({
    context: once,
    buildArgs: { BASE: lab.reference('base:esgz') },
    output: `type=image,name=${lab.reference('built:once')},push=true,oci-mediatypes=true,compression=estargz`,
    args: ['--export-cache', 'type=inline', '--export-cache', cache],
  });
  cached = (await getManifest(lab.relay.host, 'built', 'once')) ?? assert.fail('Nothing was pushed');
});
after(() => lab[Symbol.asyncDispose]());

for (const kind of ['oci', 'containerd'] as const) {
  describe(`With the ${kind} worker`, () => {
    let builder: Builder;
    before(async () => {
      builder = await lab.builder(`lazy-${kind}`, kind);
    });
    after(() => builder[Symbol.asyncDispose]());

    /** Builds and pushes as `built:tag`. */
    async function push(
      tag: string,
      context: string,
      compression: string,
      args: readonly string[] = [],
    ): Promise<Manifest> {
      const name = `${kind}-${tag}`;
      const output = `type=image,name=${lab.reference(`built:${name}`)},push=true,oci-mediatypes=true,${compression},${incomplete}`;
      await build({ context, args, output });
      return (await getManifest(lab.relay.host, 'built', name)) ?? assert.fail('Nothing was pushed');
    }

    async function build(request: BuildRequest): Promise<void> {
      await builder.buildkitd.build({ ...request, buildArgs: { BASE: lab.reference('base:esgz') } });
    }

    /** The layers of `manifest` whose blobs the builder has: of the lowest first. */
    async function present({ layers }: Manifest): Promise<boolean[]> {
      const content = await contentOf(builder);
      return layers.map(({ digest }) => content.includes(digest));
    }

    /** An OCI archive has every blob, and for that the builder fetched them. */
    async function exportArchive(context: string, { layers }: Manifest, args: readonly string[] = []): Promise<void> {
      const archive = join(lab.workspace.path, `${kind}.tar`);
      await build({ context, args, output: `type=oci,dest=${archive}` });
      const names = new Set((await run('tar', ['-tf', archive])).split('\n'));
      for (const { digest } of layers) assert.ok(names.has(`blobs/${digest.replace(':', '/')}`), `without ${digest}`);
    }

    test('no blob of a lazy base is stored by a build and a push, the next build is cached, and a later archive is complete', async () => {
      const pushed = await push('pull', once, estargz);
      assert.deepEqual(await present(pushed), [false, false, true]);
      assert.equal((await push('again', once, estargz)).digest, pushed.digest);
      assert.deepEqual(await present(pushed), [false, false, true]);
      await exportArchive(once, pushed);
      assert.deepEqual(await present(pushed), [true, true, true]);
      await releaseAll(builder);
    });

    for (const name of ['inline', 'registry'] as const) {
      test(`layers from the ${name} cache are lazy, also when it is exported again`, async () => {
        const imported = (tag: string) => ['--import-cache', `type=registry,ref=${lab.reference(`built:${tag}`)}`];
        const [from, to] = name === 'inline' ? ['once', `${kind}-inline`] : ['cache', `${kind}-cache`];
        const exported =
          name === 'inline' ? 'type=inline' : `type=registry,ref=${lab.reference(`built:${to}`)},mode=max,${gzip}`;
        const since = lab.relay.requests.length;
        const pushed = await push(name, twice, gzip, [...imported(from), '--export-cache', exported]);
        assert.deepEqual(pushed.layers.slice(0, 3), cached.layers, 'the first step was not taken from the cache');
        assert.deepEqual(await present(pushed), [false, false, false, true]);
        assert.deepEqual(lab.pulls(since, cached.layers), []);
        await releaseAll(builder);

        await exportArchive(twice, pushed, imported(to));
        assert.deepEqual(await present(pushed), [true, true, true, true]);
        await releaseAll(builder);
      });
    }

    test('a minimal registry cache and one in a directory are exported from a lazy base and imported', async () => {
      const directory = join(lab.workspace.path, `cache-${kind}`);
      const registry = `type=registry,ref=${lab.reference(`built:${kind}-min-cache`)}`;
      const pushed = await push('min', once, gzip, ['--export-cache', `${registry},mode=min,${gzip}`]);
      assert.deepEqual(await present(pushed), [false, false, true]);
      await build({ context: once, args: ['--export-cache', `type=local,dest=${directory},${gzip}`] });
      for (const cache of [registry, `type=local,src=${directory}`]) {
        await releaseAll(builder);
        await exportArchive(once, pushed, ['--import-cache', cache]);
      }
      await releaseAll(builder);
    });
  });
}

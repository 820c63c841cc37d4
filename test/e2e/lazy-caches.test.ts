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
/**
 * Without force, BuildKit looks for other compressions of each layer in its store, and leaves results with lazy layers
 * out of a cache.
 */
const gzip = 'compression=gzip,force-compression=true';
/** Lets an image into containerd's store without the blobs of its lazy layers, as BuildKit's own tests do. */
const incomplete = 'store=true,unsafe-internal-store-allow-incomplete=true';

/**
 * The bases: as eStargz, which is lazy from its first use on, and as its publisher made it, which lazypull pulls for
 * the first builder and which is lazy by its index from then on. Layers that are built are compressed in the same way.
 */
const bases = { esgz: 'compression=estargz', plain: 'compression=gzip' } as const;
type Base = keyof typeof bases;
const baseNames = Object.keys(bases) as Base[];

/**
 * The repository of the registry caches. BuildKit pushes an image and its cache at the same time, and version 2.8 of
 * the registry writes the link of a blob in place: in one repository, one push may read the other's empty link, and the
 * registry then answers that a digest is wrong.
 */
const caches = 'caches';

let lab: Lab;
let once: string;
let twice: string;
/** Images that were built on the pulled bases, with an inline cache and one in the registry. */
const cached = new Map<Base, Manifest>();

before(async () => {
  lab = await Lab.open();
  once = await lab.context('once', `ARG BASE\nFROM \${BASE}\n${first}`);
  twice = await lab.context('twice', `ARG BASE\nFROM \${BASE}\n${first}${second}`);
  await using builder = await lab.builder('pulled', 'oci', false);
  for (const base of baseNames) {
    const how = `oci-mediatypes=true,${bases[base]}`;
    const cache = `type=registry,ref=${lab.reference(`${caches}:${base}`)},mode=max,${how}`;
    await builder.buildkitd.build({
      context: once,
      buildArgs: { BASE: lab.reference(`base:${base}`) },
      output: `type=image,name=${lab.reference(`built:${base}-once`)},push=true,${how}`,
      args: ['--export-cache', 'type=inline', '--export-cache', cache],
    });
    cached.set(base, (await getManifest(lab.relay.host, 'built', `${base}-once`)) ?? assert.fail('Nothing was pushed'));
  }
});
after(() => lab[Symbol.asyncDispose]());

for (const [kind, base] of (['oci', 'containerd'] as const).flatMap((kind) =>
  baseNames.map((base) => [kind, base] as const),
)) {
  describe(`With the ${kind} worker on a base of ${base}`, () => {
    const compression = bases[base];
    const name = `${kind}-${base}`;
    let builder: Builder;
    before(async () => {
      builder = await lab.builder(name, kind);
    });
    after(() => builder[Symbol.asyncDispose]());

    /** Builds and pushes as `built:tag`. */
    async function push(tag: string, context: string, how: string, args: readonly string[] = []): Promise<Manifest> {
      const full = `${name}-${tag}`;
      const output = `type=image,name=${lab.reference(`built:${full}`)},push=true,oci-mediatypes=true,${how},${incomplete}`;
      await build({ context, args, output });
      return (await getManifest(lab.relay.host, 'built', full)) ?? assert.fail('Nothing was pushed');
    }

    async function build(request: BuildRequest): Promise<void> {
      await builder.buildkitd.build({ ...request, buildArgs: { BASE: lab.reference(`base:${base}`) } });
    }

    /** The layers of `manifest` whose blobs the builder has: of the lowest first. */
    async function present({ layers }: Manifest): Promise<boolean[]> {
      const content = await contentOf(builder);
      return layers.map(({ digest }) => content.includes(digest));
    }

    /** An OCI archive has every blob, and for that the builder fetched them. */
    async function exportArchive(context: string, { layers }: Manifest, args: readonly string[] = []): Promise<void> {
      const archive = join(lab.workspace.path, `${name}.tar`);
      await build({ context, args, output: `type=oci,dest=${archive}` });
      const names = new Set((await run('tar', ['-tf', archive])).split('\n'));
      for (const { digest } of layers) assert.ok(names.has(`blobs/${digest.replace(':', '/')}`), `without ${digest}`);
    }

    test('no blob of a lazy base is stored by a build and a push, the next build is cached, and a later archive is complete', async () => {
      const pushed = await push('pull', once, compression);
      assert.deepEqual(await present(pushed), [false, false, true]);
      assert.equal((await push('again', once, compression)).digest, pushed.digest);
      assert.deepEqual(await present(pushed), [false, false, true]);
      await exportArchive(once, pushed);
      assert.deepEqual(await present(pushed), [true, true, true]);
      await releaseAll(builder);
    });

    for (const cache of ['inline', 'registry'] as const) {
      test(`layers from the ${cache} cache are lazy, also when it is exported again`, async () => {
        const imported = (place: string) => ['--import-cache', `type=registry,ref=${lab.reference(place)}`];
        const from = cache === 'inline' ? `built:${base}-once` : `${caches}:${base}`;
        const to = cache === 'inline' ? `built:${name}-inline` : `${caches}:${name}`;
        const exported = cache === 'inline' ? 'type=inline' : `type=registry,ref=${lab.reference(to)},mode=max,${gzip}`;
        const { layers } = cached.get(base)!;
        const since = lab.relay.requests.length;
        const pushed = await push(cache, twice, gzip, [...imported(from), '--export-cache', exported]);
        assert.deepEqual(pushed.layers.slice(0, 3), layers, 'the first step was not taken from the cache');
        assert.deepEqual(await present(pushed), [false, false, false, true]);
        assert.deepEqual(lab.pulls(since, layers), []);
        await releaseAll(builder);

        await exportArchive(twice, pushed, imported(to));
        assert.deepEqual(await present(pushed), [true, true, true, true]);
        await releaseAll(builder);
      });
    }

    test('a minimal registry cache and one in a directory are exported from a lazy base and imported', async () => {
      const directory = join(lab.workspace.path, `cache-${name}`);
      const registry = `type=registry,ref=${lab.reference(`${caches}:${name}-min`)}`;
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

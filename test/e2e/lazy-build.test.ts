import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Builder, Lab } from '../support/lab.ts';
import { run } from '../support/program.ts';
import { getManifest } from '../support/push-image.ts';
import { repository } from '../support/tools.ts';
import type { ReportedImage } from '../../src/status/report.ts';
import { assertSameTree, describeTar } from '../support/tree.ts';
import { until } from '../support/until.ts';

/**
 * What is written, renamed, deleted and read here lies in the lazy layers. The times of what changes are set, so that
 * two exports can be equal.
 */
const dockerfile = `ARG BASE
FROM \${BASE} AS source
FROM \${BASE}
RUN echo hello > /hello.txt \\
  && grep -c '' /etc/passwd \\
  && echo more >> /data/many/file-1 \\
  && mv /data/many/file-2 /data/moved \\
  && rm /data/many/file-3 \\
  && chmod 0700 /data/many/file-4 \\
  && ln /data/kinds/setuid /data/linked-again \\
  && rm -r /data/opaque \\
  && mkdir /data/opaque \\
  && touch -d '2020-01-01 00:00:00' /hello.txt /data/many/file-1 /data/many /data/kinds /data/linked-again /data/opaque /data
COPY --from=source /data/many/file-5 /data/kinds/xattrs /copied/
`;

/**
 * BuildKit and runc touch these directories in every run; and a pull by containerd turns every time before 1970 into
 * 1970.
 */
const timeDiffers = /^meta \.(\/(etc|dev|proc|sys|copied|tmp|data\/kinds\/old))?\t/;

let lab: Lab;
let context: string;
let expected: string[];
let expectedLatin1: string[];
let expectedPush: string;

before(async () => {
  lab = await Lab.open();
  context = await lab.context('kinds', dockerfile);
  const latin1 = ['latin1', 'latin1-esgz'].map((tag) => lab.reference(`base:${tag}`));
  await run(join(repository, 'bin', 'lazypull'), ['convert', ...latin1]);
  await using builder = await lab.builder('overlayfs', 'oci', false);
  expected = await exported(builder, 'base:esgz');
  expectedLatin1 = await exported(builder, 'base:latin1');
  expectedPush = await pushedOn(builder, 'expected');
});
after(() => lab[Symbol.asyncDispose]());

for (const kind of ['oci', 'containerd'] as const) {
  describe(`A build with the ${kind} worker`, () => {
    let builder: Builder;
    let seen: number;
    before(async () => {
      builder = await lab.builder(`lazy-${kind}`, kind);
      seen = lab.relay.requests.length;
    });
    after(() => builder[Symbol.asyncDispose]());

    test('starts on a base of which only a part was fetched', async () => {
      await builder.buildkitd.build({ context, buildArgs: { BASE: lab.reference('base:esgz') } });
      const requests = lab.relay.requests.slice(seen);
      assert.deepEqual(lab.pulls(seen), [], 'the client fetched a layer itself');
      const fetched = requests.reduce((sum, { bytes }) => sum + bytes, 0);
      const size = lab.base.layers.reduce((sum, layer) => sum + layer.size, 0);
      assert.ok(fetched < size / 2, `fetched ${fetched} of ${size} bytes`);
      assert.deepEqual(prepared(builder), ['true', 'true']);
    });

    test('shows in a report what it read and fetched of each layer', async () => {
      const main = join(repository, 'bin', 'lazypull');
      const text = await run(main, ['report', '--json', '--address', builder.daemon!.socket]);
      const [image, ...others] = (JSON.parse(text) as { images: ReportedImage[] }).images;
      assert.ok(image !== undefined && image.reference.includes('base'), text);
      assert.deepEqual(others, []);
      assert.deepEqual(
        image.layers.map(({ how }) => how),
        ['toc', 'toc'],
      );
      const { readBytes, blobBytes, savedBytes, waits, errors } = image.totals;
      assert.equal(
        blobBytes,
        lab.base.layers.reduce((sum, { size }) => sum + size, 0),
      );
      assert.ok(readBytes > 0 && waits > 0 && savedBytes > blobBytes / 2, text);
      assert.equal(errors, 0);
    });

    test('exports the same tar as on overlayfs', async () => {
      assertSameTree(await exported(builder, 'base:esgz'), expected);
    });

    test('exports the same tar of an image that lazypull converted, with names that are not UTF-8', async () => {
      assertSameTree(await exported(builder, 'base:latin1-esgz'), expectedLatin1);
      assert.ok(prepared(builder).every((answer) => answer === 'true'));
    });

    test('exports the same tar of an unmodified image, whose layers the daemon pulls all at once, and says so', async () => {
      const before = lab.relay.requests.length;
      const logged = builder.daemon?.log().length ?? 0;
      assertSameTree(await exported(builder, 'base:plain'), expected);
      const plain = await getManifest(lab.relay.host, 'base', 'plain');
      assert.deepEqual(lab.pulls(before, plain!.layers), [], 'the client fetched a layer itself');
      const lines = builder.daemon?.log().slice(logged) ?? [];
      const how = lines.filter((line) => line['remote-snapshot-prepared'] === 'true').map(({ how: text }) => text);
      assert.equal(how.length, lab.base.layers.length);
      for (const text of how) assert.match(String(text), /^pulled here in /);
    });

    test('builds lazily on an unmodified image whose data is gone but for its index, and pushes its layers as they are', async () => {
      await forgetLayers(builder);
      const before = lab.relay.requests.length;
      const logged = builder.daemon?.log().length ?? 0;
      const pushed = await pushedOn(builder, kind);
      const { layers } = (await getManifest(lab.relay.host, 'base', 'plain'))!;
      assert.deepEqual(lab.pulls(before, layers), [], 'the client fetched a layer itself');
      const lines = builder.daemon?.log().slice(logged) ?? [];
      const how = lines.filter((line) => line['remote-snapshot-prepared'] === 'true').map(({ how: text }) => text);
      assert.deepEqual(how, Array(layers.length).fill('by an index made here'));
      const fetched = lab.relay.requests
        .slice(before)
        .filter(({ method, path }) => method === 'GET' && layers.some(({ digest }) => path.includes(digest)))
        .reduce((sum, { bytes }) => sum + bytes, 0);
      const size = layers.reduce((sum, layer) => sum + layer.size, 0);
      assert.ok(fetched < size / 2, `fetched ${fetched} of ${size} bytes`);
      assert.equal(pushed, expectedPush, 'the image is another one than on a pulled base');
    });

    test('exports the same tar of an unmodified image that is read by its index', async () => {
      assertSameTree(await exported(builder, 'base:plain'), expected);
    });
  });
}

/**
 * Builds on the unmodified image so that only its layers decide what comes of it, and pushes that. @returns its digest
 */
async function pushedOn(builder: Builder, tag: string): Promise<string> {
  const fixed = 'oci-mediatypes=true,rewrite-timestamp=true';
  const output = `type=image,name=${lab.reference(`pushed:${tag}`)},push=true,store=false,${fixed}`;
  const buildArgs = { BASE: lab.reference('base:plain'), SOURCE_DATE_EPOCH: '1700000000' };
  await builder.buildkitd.build({ context, buildArgs, output });
  return (await getManifest(lab.relay.host, 'pushed', tag))?.digest ?? assert.fail('Nothing was pushed');
}

/** Removes everything that BuildKit has, and what is kept of layers, but not their indexes. */
async function forgetLayers({ buildkitd, daemon }: Builder): Promise<void> {
  await buildkitd.buildctl('prune', '--all');
  const layers = join(daemon!.root, 'layers');
  await until(async () => {
    await run(join(repository, 'bin', 'lazypull'), ['cache', 'prune', '--address', daemon!.socket]);
    return !(await readdir(layers, { recursive: true })).some((name) => name.endsWith('layer.json'));
  }, 'BuildKit names no layers any more');
}

async function exported(builder: Builder, image: string): Promise<string[]> {
  const tar = join(lab.workspace.path, 'exported.tar');
  await builder.buildkitd.build({ context, buildArgs: { BASE: lab.reference(image) }, output: `type=tar,dest=${tar}` });
  const tree = await describeTar(tar, lab.workspace.path);
  return tree.map((line) => (timeDiffers.test(line) ? line.replace(/-?[0-9.]+ ?$/, '') : line));
}

function prepared(builder: Builder): unknown[] {
  return (builder.daemon?.log() ?? []).flatMap((line) => line['remote-snapshot-prepared'] ?? []);
}

import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Builder, Lab, lazypullAgent } from '../support/lab.ts';
import { run } from '../support/program.ts';
import { tagImage } from '../support/push-image.ts';
import { releaseAll } from '../support/stores.ts';
import { assertSameTree, describeTar, withoutRoot } from '../support/tree.ts';
import { until } from '../support/until.ts';

const builds = 8;
const platforms = ['--opt', 'platform=linux/amd64,linux/arm64'];
const esgz = 'push=true,oci-mediatypes=true,compression=estargz,force-compression=true';

let lab: Lab;
/**
 * Lists trees as what stays on one file system sees them, and the device numbers in each: a tree of an image has one.
 */
const look = `for tree in /data /mnt/image /mnt/stage /mnt/writable; do
  find $tree -xdev | busybox sort && find $tree -exec stat -c %d {} + | busybox sort -u | wc -l;
done > /seen`.replaceAll('\n', ' ');

/** What is built from lazy bases: the Dockerfile, and more arguments of the build. */
let stories: Record<string, { dockerfile: string; args: readonly string[]; expected: string[] }>;

before(async () => {
  lab = await Lab.open();
  await tagImage(lab.relay.host, 'base', 'esgz', 'again');
  await using builder = await lab.builder('pulled', 'oci', false);
  await pushMore(builder);
  const secret = join(lab.workspace.path, 'secret');
  await writeFile(secret, 'hush');
  const [base, again, multi, triggers] = ['base:esgz', 'base:again', 'multi:esgz', 'triggers:esgz'].map((name) =>
    lab.reference(name),
  );
  stories = {
    'stages, copies and mounts': {
      dockerfile: `FROM ${base} AS first
RUN echo one > /one
FROM first AS second
RUN echo two > /two && rm /data/many/file-6
FROM ${again} AS other
COPY --from=second /one /two /
FROM ${base}
ADD archive.tar /added/
ADD --chmod=0640 --chown=12:34 plain.txt /added/
COPY --from=second /one /two /data/many/file-5 /copied/
COPY --from=second /data/opaque /data/gone /copied/
COPY --link --from=other /data/kinds /linked/
COPY --link --chown=7:8 plain.txt /linked/plain.txt
COPY --from=${multi} /data/many/file-7 /from-image/
RUN --mount=type=bind,from=${again},source=/data,target=/mnt/data cp -a /mnt/data/many/file-9 /mnt/data/kinds/setuid /added/
RUN --mount=type=bind,from=other,target=/mnt/other,rw sha256sum /mnt/other/data/many/file-1* > /sums && rm -r /mnt/other/data
RUN --mount=type=cache,target=/mnt/cache,from=second,source=/data/many rm /mnt/cache/file-1 && ls /mnt/cache > /listed
RUN --mount=type=secret,id=word sha256sum /run/secrets/word >> /sums
RUN --mount=type=tmpfs,target=/mnt/scratch cp /data/many/file-8 /mnt/scratch && sha256sum /mnt/scratch/file-8 >> /sums
RUN --mount=from=${again},target=/mnt/image --mount=from=second,target=/mnt/stage --mount=from=second,rw,target=/mnt/writable ${look}
`,
      args: ['--secret', `id=word,src=${secret}`],
      expected: [],
    },
    'what ONBUILD says': { dockerfile: `FROM ${triggers}\nRUN cat /triggered >> /again\n`, args: [], expected: [] },
    'two platforms of an index': {
      dockerfile: `FROM ${multi} AS source\nFROM scratch\nCOPY --from=source /architecture /data/many/file-11 /\n`,
      args: platforms,
      expected: [],
    },
  };
  for (const story of Object.values(stories)) story.expected = await built(builder, story);
});
after(() => lab[Symbol.asyncDispose]());

/** An index of two platforms, `multi:esgz`, and an image with triggers, `triggers:esgz`. */
async function pushMore({ buildkitd }: Builder): Promise<void> {
  const push = async (name: string, dockerfile: string, args: readonly string[]) => {
    const output = `type=image,name=${lab.reference(name)},${esgz}`;
    await buildkitd.build({ context: await contextOf(dockerfile), args, output });
  };
  const index = `FROM --platform=linux/amd64 ${lab.reference('base:plain')} AS base
FROM scratch
ARG TARGETARCH
COPY \${TARGETARCH} /architecture
COPY --from=base /data/many /data/many
`;
  await push('multi:esgz', index, platforms);
  const triggers = `FROM ${lab.reference('base:plain')}
ONBUILD RUN sha256sum /data/many/file-2 > /triggered
ONBUILD COPY plain.txt /copied-later
`;
  await push('triggers:esgz', triggers, []);
}

/** A context with the Dockerfile and some files beside it. */
async function contextOf(dockerfile: string): Promise<string> {
  const context = await lab.context('dockerfile', dockerfile);
  for (const name of ['amd64', 'arm64', 'plain.txt']) await writeFile(join(context, name), `${name}\n`);
  const archived = join(context, 'archived');
  await mkdir(archived, { recursive: true });
  await writeFile(join(archived, 'member'), 'of an archive\n');
  await run('tar', ['-C', archived, '-cf', join(context, 'archive.tar'), '.']);
  return context;
}

async function built(
  { buildkitd }: Builder,
  { dockerfile, args }: { dockerfile: string; args: readonly string[] },
): Promise<string[]> {
  const tar = join(lab.workspace.path, 'built.tar');
  await buildkitd.build({
    context: await contextOf(dockerfile),
    buildArgs: { SOURCE_DATE_EPOCH: '1600000000' },
    args,
    output: `type=tar,dest=${tar}`,
  });
  return withoutRoot(await describeTar(tar, lab.workspace.path));
}

for (const kind of ['oci', 'containerd'] as const) {
  describe(`On lazy bases with the ${kind} worker`, () => {
    let builder: Builder;
    before(async () => {
      builder = await lab.builder(`lazy-${kind}`, kind);
    });
    after(() => builder[Symbol.asyncDispose]());

    test('builds at once fetch what they read together once', async () => {
      const since = lab.relay.requests.length;
      const sums = await Promise.all(Array.from({ length: builds }, (_, n) => sumsOf(builder, n)));
      const ballast = sums.map((lines) => /([0-9a-f]{64}) {2}\/data\/ballast/.exec(lines)?.[1]);
      assert.deepEqual(new Set(ballast), new Set(['33e12f0a876d2a9199e2456f543c0daeef1ec039d95f3fa1530ee86275fbd858']));
      assert.deepEqual(lab.pulls(since), []);
      const size = lab.base.layers.reduce((sum, layer) => sum + layer.size, 0);
      const { bytes } = lab.relay.traffic(lazypullAgent, since);
      assert.ok(bytes < 1.5 * size, `fetched ${bytes} bytes of layers of ${size}`);
    });

    for (const name of ['stages, copies and mounts', 'what ONBUILD says', 'two platforms of an index']) {
      test(`${name} give the same tree as on pulled bases`, async () => {
        const since = lab.relay.requests.length;
        const story = stories[name] ?? assert.fail();
        assertSameTree(await built(builder, story), story.expected);
        assert.deepEqual(lab.pulls(since), [], 'a layer was pulled');
      });
    }

    test('a prune for free space takes lazy layers, of which BuildKit never asks the size', async () => {
      const records = () => builder.buildkitd.buildctl('du', '--format', '{{range .}}{{.ID}} {{end}}');
      assert.notEqual((await records()).trim(), '');
      await until(async () => {
        await builder.buildkitd.buildctl('prune', '--all', '--free-storage', '1000000000');
        return (await records()).trim() === ''; // BuildKit lets go of some of them a moment later
      }, 'no records are left');
    });

    test('every layer was lazy, and nothing is left after a prune', async () => {
      const prepared = builder.daemon?.log().flatMap((line) => line['remote-snapshot-prepared'] ?? []);
      assert.deepEqual(new Set(prepared), new Set(['true']));
      await releaseAll(builder);
    });
  });
}

/** A build of its own that reads the same as the others do and a file that the others do not. */
async function sumsOf({ buildkitd }: Builder, n: number): Promise<string> {
  const lines: string[] = [];
  const read = `FROM ${lab.reference('base:esgz')}\nRUN sha256sum /data/many/file-${n} /data/ballast\n`;
  await buildkitd.build({ context: await lab.context(`sums-${n}`, read), onLine: (line) => lines.push(line) });
  return lines.join('\n');
}

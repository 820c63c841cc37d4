import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Lab } from '../support/lab.ts';
import { run } from '../support/program.ts';
import { getManifest, gzipLayer, type Manifest, pushImage } from '../support/push-image.ts';
import { repository } from '../support/tools.ts';

/** More than fit into the options of one mount when each has a path of its own. */
const layerCount = 34;

let lab: Lab;

before(async () => {
  lab = await Lab.open();
  const layers = [];
  for (let i = 0; i < layerCount; i++) {
    const tree = join(lab.workspace.path, 'deep', String(i));
    await mkdir(join(tree, 'd'), { recursive: true });
    await writeFile(join(tree, 'd', `file-${i}`), `of layer ${i}\n`);
    await writeFile(join(tree, 'd', 'latest'), `layer ${i}\n`);
    await run('tar', ['--numeric-owner', '--sort=name', '--mtime=@1600000000', '-C', tree, '-cf', `${tree}.tar`, '.']);
    layers.push(await gzipLayer(`${tree}.tar`, `${tree}.tar.gz`));
  }
  await pushImage(lab.relay.host, 'deep', 'plain', layers);
  const [plain, esgz] = [lab.reference('deep:plain'), lab.reference('deep:esgz')];
  await run(join(repository, 'bin', 'lazypull'), ['convert', plain, esgz]);
});
after(() => lab[Symbol.asyncDispose]());

for (const kind of ['oci', 'containerd'] as const) {
  test(`RUN --mount takes an image of ${layerCount} layers, read-only and writable, on the ${kind} worker`, async () => {
    await using builder = await lab.builder(`deep-${kind}`, kind);
    for (const tag of ['esgz', 'plain']) {
      const { layers } = (await getManifest(lab.relay.host, 'deep', tag)) as Manifest;
      const since = lab.relay.requests.length;
      const image = lab.reference(`deep:${tag}`);
      const context = await lab.context(
        `deep-${kind}-${tag}`,
        `FROM ${lab.reference('base:esgz')} AS made
RUN --mount=type=bind,from=${image},target=/mnt/ro cat /mnt/ro/d/file-* > /all && cat /mnt/ro/d/latest > /latest
RUN --mount=type=bind,from=${image},target=/mnt/rw,rw rm /mnt/rw/d/file-0 && cat /mnt/rw/d/file-* > /less
FROM scratch
COPY --from=made /all /latest /less /
`,
      );
      const output = join(builder.directory, `out-${tag}`);
      await builder.buildkitd.build({ context, output: `type=local,dest=${output}` });
      const lines = Array.from({ length: layerCount }, (_, i) => `of layer ${i}`);
      const sorted = async (name: string) => (await readFile(join(output, name), 'utf8')).trimEnd().split('\n').sort();
      assert.deepEqual(await sorted('all'), lines.toSorted());
      assert.deepEqual(await sorted('less'), lines.slice(1).sort());
      assert.equal(await readFile(join(output, 'latest'), 'utf8'), `layer ${layerCount - 1}\n`);
      assert.deepEqual(lab.pulls(since, layers), [], 'the client pulled a layer');
    }
  });
}

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { LayerLab } from '../../support/layer-lab.ts';
import { assertSameTree, describeTar, describeTree, withoutRoot } from '../../support/tree.ts';
import { buildTar, type TarSpec } from '../../support/tar-builder.ts';

/** Kills are spread over the first so many milliseconds of a pull. */
const killedWithinMs = 600;
const kills = 6;

const files: TarSpec[] = [
  { name: 'd/', typeflag: '5', mode: 0o750 },
  ...Array.from({ length: 300 }, (_, i) => ({ name: `d/small-${i}`, data: randomBytes((i * 997) % 9000), mtime: i })),
  { name: 'd/hard', typeflag: '1', linkName: 'd/small-7', mode: 0o644, mtime: 7 },
  { name: 'large', data: Buffer.from(randomBytes(24 << 20).toString('base64')) },
];

let lab: LayerLab;
let expected: string[];
const tar = buildTar(files);

before(async () => {
  lab = await LayerLab.open();
  const path = join(lab.workspace.path, 'layer.tar');
  await writeFile(path, tar);
  expected = withoutRoot(await describeTar(path, lab.workspace.path));
});
after(() => lab[Symbol.asyncDispose]());

for (const [kind, compress] of [
  ['gzip', (): Buffer => gzipSync(tar, { level: 1 })],
  ['zstd', (): Buffer => zstdCompressSync(tar)],
] as const) {
  test(`A daemon that is killed while it pulls a layer of ${kind} leaves nothing that counts, and the next one pulls it`, async () => {
    const layer = { digest: lab.registry.addBlob(compress()), annotations: {} };
    const files = join(lab.root, 'layers', layer.digest.slice('sha256:'.length));
    for (let kill = 0; kill < kills; kill++) {
      const preparing = lab.isLazy(layer).catch(() => false);
      await delay((kill / kills) * killedWithinMs);
      await lab.restart('SIGKILL');
      if (await preparing) break; // it was whole before
      const kept = existsSync(files) ? await readdir(files, { recursive: true }) : [];
      assert.ok(!kept.some((name) => name.endsWith('layer.json')) || kill > 0);
    }
    const image = await lab.prepare([layer]);
    const root = await lab.mount(image);
    assertSameTree(withoutRoot(await describeTree(root)), expected);
    await lab.crash();
    await lab.dropCaches();
    assertSameTree(withoutRoot(await describeTree(root)), expected);
    await lab.unmount(root);
    const left = await readdir(lab.root);
    assert.ok(!left.includes('pulls') || (await readdir(join(lab.root, 'pulls'))).length === 0);
  });
}

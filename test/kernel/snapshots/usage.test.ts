import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import { SnapshotsClient } from '../../support/snapshots-client.ts';
import { until } from '../../support/until.ts';

const fileBytes = 8 << 20;
const files = ['one', 'two'].map(
  (path): FileSpec => ({ path, type: 'reg', mode: 0o644, content: randomBytes(fileBytes) }),
);

test('Usage of a lazy layer is what its files take now; CRI, which asks once, is told what they come to', async () => {
  await using lab = await LayerLab.open('noprefetch = true\nno_background_fetch = true\n');
  using client = new SnapshotsClient(lab.socket);
  const layer = lab.layer(estargzBlob(files));
  assert.ok(await client.prepareLayer('layer', '', lab.reference, layer));
  const directory = lab.layerDirectory(layer);
  const disk = statSync(join(directory, 'disk'));

  const filesNow = async () => {
    const counted = await Promise.all([['-B1'], ['--inodes']].map((how) => run('du', [...how, '-s', directory])));
    const [bytes, inodes] = counted.map((line) => Number(line.split('\t')[0]));
    return { bytes, inodes };
  };
  const check = async () => {
    // The daemon writes down what is here a moment later: until then files come and go.
    const now = await until(async () => {
      const usage = await client.usage('layer', 'default');
      return isDeepStrictEqual(usage, await filesNow()) && usage;
    }, 'the usage is not that of the files');
    const { bytes } = await client.usage('layer', 'k8s.io');
    assert.ok(bytes >= disk.size && bytes < disk.size + (1 << 20), `${bytes} of ${disk.size}`);
    return now.bytes;
  };
  const atFirst = await check();
  assert.ok(atFirst > 0 && atFirst < fileBytes, `${atFirst} bytes of a layer that nobody has read`);
  const mounted = await lab.mount('layer');
  await readFile(join(mounted, 'one'));
  await run('sync', ['-f', directory]);
  const read = await check();
  assert.ok(read >= fileBytes && read < 2 * fileBytes, `${read} bytes of a layer that was read to the half`);
  await readFile(join(mounted, 'two'));
  await run('sync', ['-f', directory]);
  assert.ok((await check()) >= 2 * fileBytes);
  await lab.unmount(mounted);
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';

const chunkBytes = 1 << 16;
const otherBoot = '00000000-0000-4000-8000-000000000000';

/** More than it takes to write down what is there. */
const syncedMs = 2500;

async function scramble(path: string, from: number, length: number): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write(randomBytes(length), 0, length, from);
}

/**
 * What a power cut can do to the files of a layer, and a good disk does not: the names of those are of
 * `LayerDirectory`.
 */
const damages: Record<string, (directory: string) => Promise<void>> = {
  nothing: async () => undefined,
  'the residency is gone': (directory) => rm(join(directory, 'resident')),
  'the residency is cut': (directory) => truncate(join(directory, 'resident'), 110),
  'the residency is scrambled': (directory) => scramble(join(directory, 'resident'), 103, 3),
  'the residency was never synced': (directory) => writeFile(join(directory, 'resident'), Buffer.alloc(114)),
  'the record is gone': (directory) => rm(join(directory, 'layer.json')),
  'the record is cut': (directory) => truncate(join(directory, 'layer.json'), 50),
  'the record is of files that were not synced': async (directory) => {
    const path = join(directory, 'layer.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('"boot":"any"', `"boot":"${otherBoot}"`));
  },
  'the chunk table is scrambled': (directory) => scramble(join(directory, 'table'), 20, 8),
  'the chunk table is cut': (directory) => truncate(join(directory, 'table'), 100),
  'the metadata of the disk are scrambled': (directory) => scramble(join(directory, 'disk'), 1024, 500),
  'the disk is cut': (directory) => truncate(join(directory, 'disk'), 5000),
  'the disk is empty': (directory) => truncate(join(directory, 'disk'), 0),
  'the data that was said to be there is zeros': async (directory) => {
    const { size } = await open(join(directory, 'disk')).then(async (file) => {
      await using opened = file;
      return opened.stat();
    });
    await truncate(join(directory, 'disk'), 8192);
    await truncate(join(directory, 'disk'), size);
  },
};

test('After a power cut every file has its bytes, whatever was lost', async () => {
  await using lab = await LayerLab.open();
  const layers = await Promise.all(
    Object.keys(damages).map(async (damage) => {
      const files = [0, 1, 2].map(
        (i): FileSpec => ({ path: `file-${i}`, type: 'reg', content: randomBytes(200_000 + i) }),
      );
      const layer = lab.layer(estargzBlob(files, chunkBytes));
      const snapshot = await lab.prepare([layer]);
      const root = await lab.mount(snapshot);
      await readFile(join(root, 'file-1'));
      await lab.unmount(root);
      return { damage, files, snapshot, directory: lab.layerDirectory(layer) };
    }),
  );
  await delay(syncedMs);
  await lab.daemon.program.stop('SIGKILL');
  await lab.reboot();
  for (const { damage, directory } of layers) {
    await damages[damage]!(directory);
  }
  await lab.restart('SIGKILL');
  for (const { damage, files, snapshot } of layers) {
    const root = await lab.mountWhenAvailable(snapshot);
    for (const { path, content } of files) {
      assert.ok((await readFile(join(root, path))).equals(content!), `${path} has other bytes where ${damage}`);
    }
    await lab.unmount(root);
  }
});

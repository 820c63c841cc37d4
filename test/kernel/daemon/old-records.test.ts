import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { mountTable } from '../../../src/kernel/mount.ts';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { until } from '../../support/until.ts';

const mib = 1 << 20;
let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open('no_background_fetch = true\nnoprefetch = true\n');
});
after(() => lab[Symbol.asyncDispose]());

interface Written {
  readonly boot: string;
  readonly record: Readonly<Record<string, unknown>>;
}

/**
 * Puts the record of a layer into the words of the versions before layer formats had a name: `version` 5, `tocDigest`,
 * `rows`.
 */
async function writeAsBefore(path: string): Promise<void> {
  const { boot, record } = JSON.parse(await readFile(path, 'utf8')) as Written;
  const { version, digest, indexDigest, format, reference, chunks, sums, ...sizes } = record;
  assert.deepEqual([version, format], [6, 'estargz']);
  const old = { version: 5, digest, tocDigest: indexDigest, reference, ...sizes, rows: chunks, sums };
  const sum = hash('sha256', `${boot}\n${JSON.stringify(old)}`);
  await writeFile(path, JSON.stringify({ boot, sum, record: old }));
}

test('A daemon goes on with what one has left that knew a single layer format', async () => {
  const files = Array.from(
    { length: 4 },
    (_, i): FileSpec => ({ path: `file-${i}`, type: 'reg', content: randomBytes(2 * mib) }),
  );
  const layer = lab.layer(estargzBlob(files, mib));
  const root = await lab.mount(await lab.prepare([layer]));
  const read = async (index: number): Promise<void> => {
    const { path, content } = files[index]!;
    assert.ok((await readFile(join(root, path))).equals(content!), path);
  };
  await read(0);
  const directory = lab.layerDirectory(layer);
  await until(() => existsSync(join(directory, 'resident'))); // what was read is on the disk then
  const mounts = await mountTable(lab.workspace.path);
  await lab.daemon.program.stop('SIGKILL');
  await writeAsBefore(join(directory, 'layer.json'));
  const reading = read(1); // waits for the next daemon
  await delay(100);
  await lab.restart('SIGKILL');
  await reading;
  assert.deepEqual(await mountTable(lab.workspace.path), mounts);
  await lab.dropCaches();
  const requests = lab.registry.requests.length;
  await read(0);
  assert.equal(lab.registry.requests.length, requests, 'what was fetched is kept');
  for (const index of [2, 3]) await read(index);
  assert.deepEqual(lab.complaints, []);
  await lab.unmount(root);
});

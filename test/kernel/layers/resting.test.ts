import assert from 'node:assert/strict';
import { createHash, hash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import type { ImageLayer } from '../../support/snapshots-client.ts';
import { until } from '../../support/until.ts';

const layerCount = 60;
const filesPerLayer = 20_000;
/** Without resting the tables alone would add 86 MB. Some 150 to 190 are usual. */
const maxResidentMb = 200;
/** Threads that pull end after 10 s, V8 gives their pages back 8 s later, and the last tables are collected in 10 s. */
const maxRestMs = 45_000;

let lab: LayerLab;
let layers: ImageLayer[];
let expected: string;

before(async () => {
  lab = await LayerLab.open('no_background_fetch = true\nnoprefetch = true\n');
  const seed = randomBytes(120);
  const content = (i: number) => Buffer.concat([seed, hash('sha512', String(i), 'buffer'), Buffer.from(String(i))]);
  const files = Array.from({ length: filesPerLayer }, (_, i): FileSpec => {
    return { path: `directory-${i % 100}/file-${i}`, type: 'reg', mode: 0o644, content: content(i) };
  });
  const blob = estargzBlob([{ path: '.', type: 'dir', mode: 0o755 }, ...files]);
  expected = digestOf([0, 9_999, 19_999].map(content));
  layers = Array.from({ length: layerCount }, (_, i) => {
    const bytes = Buffer.from(blob.bytes);
    bytes.writeUInt32LE(i, 4); // the time in the first gzip header, so that each layer is one of its own
    return lab.layer({ bytes, context: blob.context });
  });
});
after(() => lab[Symbol.asyncDispose]());

function digestOf(contents: readonly Buffer[]): string {
  return contents.reduce((sum, content) => sum.update(content), createHash('sha256')).digest('hex');
}

async function readFrom(mounted: string): Promise<string> {
  const names = [0, 9_999, 19_999].map((i) => join(mounted, `directory-${i % 100}`, `file-${i}`));
  return digestOf(await Promise.all(names.map((name) => readFile(name))));
}

test('Dozens of mounted layers of twenty thousand files take little memory, and each can be read again at any time', async (t) => {
  const images: string[] = [];
  for (const layer of layers) images.push(await lab.prepare([layer]));
  const mounted: string[] = [];
  for (const image of images) mounted.push(await lab.mount(image));
  for (const directory of mounted) assert.equal(await readFrom(directory), expected);
  await lab.dropCaches();
  for (const directory of mounted.toReversed()) assert.equal(await readFrom(directory), expected);
  let resident = 0;
  const isSmall = async () => (resident = await lab.residentMemory()) < maxResidentMb;
  await until(isSmall, () => `${resident} MB`, maxRestMs);
  t.diagnostic(`${resident} MB at rest`);
  for (const directory of mounted) await lab.unmount(directory);

  const requests = lab.registry.requests.length;
  await lab.restart('SIGTERM');
  const again = await lab.mount(images[17]!);
  assert.equal(await readFrom(again), expected);
  await lab.unmount(again);
  assert.equal(lab.registry.requests.length, requests, 'what was here is asked for again');
  assert.deepEqual(lab.complaints, []);
});

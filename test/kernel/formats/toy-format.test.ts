import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Formats } from '../../../src/formats/index.ts';
import type { Labels } from '../../../src/formats/layer-format.ts';
import { Layers } from '../../../src/layers/layers.ts';
import { labelsOf, type LayerRef } from '../../../src/layers/resolve/layer-ref.ts';
import { Refusal } from '../../../src/layers/resolve/refusal.ts';
import { silentLog } from '../../../src/log.ts';
import { fakeImage } from '../../support/fake-image.ts';
import { MemoryBlob } from '../../support/memory-blob.ts';
import { run } from '../../support/program.ts';
import toy, { sumOf, toyLayer } from '../../support/toy-format.ts';
import { Workspace } from '../../support/workspace.ts';

const formats = await Formats.load([new URL('../../support/toy-format.ts', import.meta.url).href]);

function refOf(layers: Layers, labels: Labels): LayerRef {
  const ref = layers.resolve(labels);
  assert.ok(!(ref instanceof Refusal));
  return ref;
}

/** What another program reads of a file. This one serves what is mounted, and must not wait for itself. */
async function sumAt(path: string): Promise<string> {
  return (await run('sha256sum', [path])).slice(0, 64);
}

test('A layer format from outside is mounted, read, and found again on the disk, by the seam alone', async () => {
  await using workspace = await Workspace.open('lp-toy');
  const names = ['etc/small', 'etc/empty', ...Array.from({ length: 40 }, (_, i) => `usr/share/file-${i}`)];
  const files = new Map(names.map((name, i) => [name, randomBytes(i === 1 ? 0 : 1000 + ((i * 99_991) % 900_000))]));
  const { bytes, id } = toyLayer(files);
  const blob = new MemoryBlob(bytes);
  const root = join(workspace.path, 'root');
  const options = { root, prefetch: undefined, background: undefined, formats, log: silentLog };
  const labels = labelsOf('registry.example/toy:1', id, toy);
  const mountpoint = join(workspace.path, 'mounted', 'fs');
  const check = async (): Promise<void> => {
    for (const [name, content] of files) assert.equal(await sumAt(join(mountpoint, name)), sumOf(content), name);
  };

  let layers = await Layers.start({ ...options, images: (reference) => fakeImage(reference, () => blob) });
  await layers.mount(mountpoint, refOf(layers, labels));
  await check();
  assert.ok(blob.requests > 1);
  assert.ok(await layers.close());

  const record = await readFile(join(root, 'layers', id.digest.slice(7), id.index.slice(7), 'layer.json'), 'utf8');
  assert.match(record, /"format":"toy"/);
  const broken = new MemoryBlob(Buffer.alloc(0));
  layers = await Layers.start({ ...options, images: (reference) => fakeImage(reference, () => broken) });
  await layers.mount(mountpoint, refOf(layers, labels));
  await check();
  assert.equal(broken.requests, 0);
  assert.ok(await layers.close());
});

test('A layer of a format that this version does not have is not read as another', async () => {
  await using workspace = await Workspace.open('lp-toy');
  const { bytes, id } = toyLayer(new Map([['file', Buffer.from('content')]]));
  const root = join(workspace.path, 'root');
  const images = (reference: string) => fakeImage(reference, () => new MemoryBlob(bytes));
  const options = { root, images, prefetch: undefined, background: undefined };
  const labels = labelsOf('registry.example/toy:1', id, toy);
  const mountpoint = join(workspace.path, 'mounted', 'fs');
  let layers = await Layers.start({ ...options, formats, log: silentLog });
  await layers.mount(mountpoint, refOf(layers, labels));
  assert.ok(await layers.close());

  const named = labelsOf('registry.example/toy:1', id, {
    ...toy,
    labelsOf: (index) => formats.named('estargz')!.labelsOf(index),
  });
  layers = await Layers.start({ ...options, log: silentLog });
  await assert.rejects(layers.restore(mountpoint, refOf(layers, named)), { code: 'Unimplemented', message: /"toy"/ });
  assert.ok(await layers.close());
});

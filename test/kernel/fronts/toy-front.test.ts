import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Formats } from '../../../src/formats/index.ts';
import { Fronts } from '../../../src/fronts/index.ts';
import { mountTable } from '../../../src/kernel/mount.ts';
import { Layers } from '../../../src/layers/layers.ts';
import { silentLog } from '../../../src/log.ts';
import { fakeImage } from '../../support/fake-image.ts';
import { MemoryBlob } from '../../support/memory-blob.ts';
import { run } from '../../support/program.ts';
import toyFormat, { sumOf, toyLayer } from '../../support/toy-format.ts';
import { Workspace } from '../../support/workspace.ts';

const moduleOf = (name: string): string => new URL(`../../support/${name}.ts`, import.meta.url).href;
const formats = await Formats.load([moduleOf('toy-format')]);
const fronts = await Fronts.load([moduleOf('toy-front')]);

/** Random files, some of them empty and some in directories, by their names. */
function randomFiles(): Map<string, Buffer> {
  const names = ['etc/small', 'etc/empty', ...Array.from({ length: 40 }, (_, i) => `usr/share/file-${i}`)];
  return new Map(names.map((name, i) => [name, randomBytes(i === 1 ? 0 : 1000 + ((i * 99_991) % 900_000))]));
}

/** What another program reads of a file. This one serves what is mounted, and must not wait for itself. */
async function sumAt(path: string): Promise<string> {
  return (await run('sha256sum', [path])).slice(0, 64);
}

test('A front from outside shows a layer as another file system, by the seam alone', async () => {
  await using workspace = await Workspace.open('lp-toy-front');
  const files = randomFiles();
  const { bytes, id } = toyLayer(files);
  const blob = new MemoryBlob(bytes);
  const root = join(workspace.path, 'root');
  const options = { root, prefetch: undefined, background: undefined, formats, log: silentLog };
  const refOf = (of: MemoryBlob) => {
    const image = fakeImage('registry.example/toy:1', () => of);
    return { id, format: toyFormat, image, siblings: [], prefetchBytes: undefined };
  };
  const images = (reference: string) => fakeImage(reference);
  const mountpoint = join(workspace.path, 'mounted', 'fs');
  const check = async (): Promise<void> => {
    for (const [name, content] of files) assert.equal(await sumAt(join(mountpoint, name)), sumOf(content), name);
  };
  const typeAt = async () => (await mountTable(dirname(mountpoint))).map(({ type }) => type);

  let layers = await Layers.start({ ...options, images, fronts });
  await layers.mount(mountpoint, refOf(blob));
  assert.deepEqual(await typeAt(), ['ext4']);
  assert.ok(blob.requests < files.size, 'its data comes when it is read');
  await check();
  assert.ok(await layers.close());

  const record = await readFile(join(root, 'layers', id.digest.slice(7), id.index.slice(7), 'layer.json'), 'utf8');
  assert.match(record, /"front":"toy"/);
  const broken = new MemoryBlob(Buffer.alloc(0));
  layers = await Layers.start({ ...options, images, fronts });
  await layers.restore(mountpoint, refOf(broken));
  await check();
  assert.equal(broken.requests, 0, 'it was found on the disk');
  assert.ok(await layers.close());

  layers = await Layers.start({ ...options, images });
  await assert.rejects(layers.restore(mountpoint, refOf(broken)), { code: 'Unimplemented', message: /"toy"/ });
  await layers.mount(mountpoint, refOf(blob));
  assert.deepEqual(await typeAt(), ['erofs'], 'made again, as this program shows it');
  await check();
  assert.ok(await layers.close());
});

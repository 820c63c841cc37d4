import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';

const mib = 1 << 20;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
after(() => lab[Symbol.asyncDispose]());

/** A layer of random files that has been read to its end, and where the daemon keeps it. */
async function readLayer() {
  const files = Array.from({ length: 8 }, (_, i): FileSpec & { content: Buffer } => ({
    path: `file-${i}`,
    type: 'reg',
    content: randomBytes(mib),
  }));
  const layer = lab.layer(estargzBlob(files, mib));
  const snapshot = await lab.prepare([layer]);
  const directory = join(lab.root, 'layers', layer.digest.slice('sha256:'.length));
  const [toc = ''] = await readdir(directory);
  const diskPath = join(directory, toc, 'disk');
  /** Checks all files, and tells how many bytes of the layer were asked for meanwhile. */
  const readAll = async (): Promise<number> => {
    const before = lab.registry.requests.length;
    const root = await lab.mount(snapshot);
    for (const { path, content } of files) assert.deepEqual(await readFile(join(root, path)), content, path);
    await lab.unmount(root);
    const asked = lab.registry.requests.slice(before).filter(({ path }) => path.includes(layer.digest));
    return asked.reduce((sum, { bytes }) => sum + bytes, 0);
  };
  assert.ok((await readAll()) > 7 * mib);
  return { files, digest: layer.digest, diskPath, readAll };
}

/** Where on the disk a file's content is. */
async function placeOf(diskPath: string, content: Buffer): Promise<number> {
  const at = (await readFile(diskPath)).indexOf(content.subarray(0, 64));
  assert.ok(at > 0);
  return at;
}

test('A bit that flips while the daemon is away is found before it is served, and only that part is fetched again', async () => {
  const { files, digest, diskPath, readAll } = await readLayer();
  await lab.restart('SIGTERM');
  assert.equal(await readAll(), 0, 'nothing is fetched where nothing is wrong');

  await lab.restart('SIGTERM');
  await using disk = await open(diskPath, 'r+');
  const at = (await placeOf(diskPath, files[3]!.content)) + 4321;
  const { buffer } = await disk.read(Buffer.alloc(1), 0, 1, at);
  buffer[0]! ^= 0x10;
  await disk.write(buffer, 0, 1, at);
  const fetched = await readAll();
  assert.ok(fetched > 0 && fetched < 2 * mib, `${fetched} bytes`);
  const complaint = lab.complaints.find(
    (line) => line['layer'] === digest && /damaged on the disk/.test(String(line['msg'])),
  );
  assert.deepEqual([complaint?.['file'], complaint?.['parts']], ['file-3', 1]);
  await lab.restart('SIGTERM');
  assert.equal(await readAll(), 0, 'and it is kept');
});

test('What the disk loses under a running daemon is fetched again', async () => {
  const { files, diskPath, readAll } = await readLayer();
  await lab.restart('SIGTERM');
  await readAll(); // it is mounted with FUSE, and all of it is verified
  const disk = await open(diskPath, 'r+');
  await disk.truncate(await placeOf(diskPath, files[5]!.content));
  await disk.close();
  await lab.dropCaches();
  assert.ok((await readAll()) > 2 * mib);
  await lab.dropCaches();
  assert.equal(await readAll(), 0);
});

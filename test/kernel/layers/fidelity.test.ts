import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import { tarOf } from '../../support/random-layer.ts';
import type { ImageLayer } from '../../support/snapshots-client.ts';
import { assertSameTree, describeTree } from '../../support/tree.ts';

const readers = 64;
const reads = 4000;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
after(() => lab[Symbol.asyncDispose]());

/** Bytes that do not compress, the same for the same seed. */
function noise(seed: string, length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 64) }, (_, i) => hash('sha512', `${seed} ${i}`, 'buffer'));
  return Buffer.concat(blocks).subarray(0, length);
}

const file = (path: string, content: Buffer): FileSpec => ({ path, type: 'reg', mode: 0o644, content });

const lowest: FileSpec[] = [
  { path: '.', type: 'dir', mode: 0o755 },
  ...['many', 'large', 'gone', 'opaque', 'turns'].map((path): FileSpec => ({ path, type: 'dir', mode: 0o755 })),
  ...Array.from({ length: 2500 }, (_, i) => file(`many/file-${i}`, noise(`many ${i}`, (i * 7919) % 20_000))),
  ...[1 << 20, (3 << 20) + 1, (5 << 20) - 1].map((length) => file(`large/${length}`, noise('large', length))),
  file('large/zeros', Buffer.alloc(6 << 20)),
  file('gone/file', Buffer.from('gone')),
  file('opaque/hidden', Buffer.from('hidden')),
  file('turns/file', Buffer.from('becomes a directory')),
  { path: 'turns/directory', type: 'dir', mode: 0o755 },
  file('turns/directory/file', Buffer.from('becomes a file')),
];
const middle: FileSpec[] = [
  { path: '.', type: 'dir', mode: 0o755 },
  ...['many', 'opaque', 'turns'].map((path): FileSpec => ({ path, type: 'dir', mode: 0o700, uid: 70_000 })),
  { path: 'turns/file', type: 'dir', mode: 0o755 },
  file('many/file-7', noise('replaced', 9000)),
  file('many/.wh.file-8', Buffer.alloc(0)),
  file('.wh.gone', Buffer.alloc(0)),
  file('opaque/.wh..wh..opq', Buffer.alloc(0)),
  file('opaque/seen', Buffer.from('seen')),
  file('turns/file/inside', Buffer.from('is a directory')),
  file('turns/directory', Buffer.from('is a file')),
];
const top: FileSpec[] = [
  { path: '.', type: 'dir', mode: 0o755 },
  { path: 'gone', type: 'dir', mode: 0o711 },
  file('gone/again', Buffer.from('here again')),
];

/** The layers unpacked by GNU tar and put together by overlayfs. */
async function unpack(layers: readonly (readonly FileSpec[])[]): Promise<string> {
  const directories: string[] = [];
  for (const [i, layer] of layers.entries()) {
    const directory = await lab.workspace.directory(`unpacked-${i}`);
    const tar = join(lab.workspace.path, `layer-${i}.tar`);
    await writeFile(tar, tarOf(layer));
    await run('tar', ['--numeric-owner', '--delay-directory-restore', '-xpf', tar, '-C', directory]);
    const script = `
      cd "$1"
      find . -name .wh..wh..opq -printf '%h\\0' -delete | xargs -0 -r setfattr -n trusted.overlay.opaque -v y
      find . -name '.wh.*' -delete -printf '%h/%f\\n' | sed 's,/\\.wh\\.,/,' | xargs -r -I% mknod % c 0 0
      touch -d @0 . $(find . -mindepth 1 -type d)
    `;
    await run('bash', ['-euo', 'pipefail', '-c', script, 'bash', directory]);
    directories.unshift(directory);
  }
  const merged = await lab.workspace.directory('merged');
  await run('mount', ['-t', 'overlay', '-o', `ro,lowerdir=${directories.join(':')}`, 'overlay', merged]);
  return merged;
}

/** Compares parts of random files of two trees, by many processes at one time. */
async function compareParts(expected: string, actual: string): Promise<void> {
  const files = (await readdir(expected, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const parts = Array.from({ length: reads }, (_, i) => {
    const { parentPath, name } = files[(i * 7919) % files.length]!;
    const path = join(parentPath, name);
    return `-i ${(i * 104_729) % 40_000} -n ${1 + ((i * 1299) % 300_000)} ${path} ${path.replace(expected, actual)}\n`;
  });
  const list = join(lab.workspace.path, 'parts');
  await writeFile(list, parts.join(''));
  await run('xargs', ['-a', list, '-P', String(readers), '-L', '1', 'cmp']);
}

/** A layer that has to be pulled before it can be mounted. */
function unindexed(blob: Buffer): ImageLayer {
  return { digest: lab.registry.addBlob(blob), annotations: {} };
}

test('A lazy image is what overlayfs makes of its unpacked layers: under many readers, and after each restart', async () => {
  const contents = [lowest, middle, middle, [], top, []];
  const expected = await unpack([lowest, middle, middle, top]);
  const tree = await describeTree(expected);
  const writers: ((files: readonly FileSpec[]) => ImageLayer)[] = [
    (files) => lab.layer(estargzBlob(files, 1 << 20, 0)),
    (files) => lab.layer(estargzBlob(files, 100_000, 300_000)),
    (files) => unindexed(gzipSync(tarOf(files), { level: 1 })),
    (files) => unindexed(zstdCompressSync(tarOf(files))),
    (files) => unindexed(tarOf(files)),
  ];
  for (const write of writers) {
    const layers = contents.map(write);
    const image = await lab.prepare(layers);
    const mounted = await lab.mount(image);
    await compareParts(expected, mounted);
    assertSameTree(await describeTree(mounted), tree);
    await lab.unmount(mounted);

    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      await lab.restart(signal);
      const again = await lab.mount(image);
      assertSameTree(await describeTree(again), tree);
      await lab.unmount(again);
    }
  }
  assert.deepEqual(
    lab.complaints.filter(({ msg }) => msg !== 'took away the FUSE mount of a dead process'),
    [],
  );
});

test('A layer that overlayfs would not show as it would be unpacked is not lazy', async () => {
  const layer = (...files: FileSpec[]) => lab.layer(estargzBlob(files));
  const deletes = layer(file('d/.wh.gone', Buffer.alloc(0)));
  const inTmp = layer(file('tmp/file', Buffer.from('x')));
  const plain = layer({ path: 'tmp', type: 'dir', mode: 0o755 });
  const sticky = layer({ path: 'tmp', type: 'dir', mode: 0o1777 });

  assert.equal(await lab.isLazy(deletes), false);
  assert.equal(await lab.isLazy(inTmp), true);
  const onPlain = await lab.prepare([plain]);
  assert.equal(await lab.isLazy(deletes, onPlain), true);
  assert.equal(await lab.isLazy(inTmp, onPlain), true);
  const onSticky = await lab.prepare([sticky, plain, sticky]);
  assert.equal(await lab.isLazy(inTmp, onSticky), false);
  assert.match(String(lab.complaints.at(-1)?.['error']), /"tmp"/);
  assert.equal(await lab.isLazy(layer({ path: 'tmp', type: 'dir', mode: 0o700 }), onSticky), true);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type IndexEntry, plainEntry } from '../../../src/formats/layer-index.ts';
import { ChunkColumns } from '../../../src/formats/chunk-columns.ts';
import { buildTree } from '../../../src/formats/tree.ts';
import { ImageTree } from '../../../src/image-reader/image-tree.ts';

type Spec = Partial<IndexEntry> & { path: string };

const dir = (path: string, more: Partial<IndexEntry> = {}): Spec => ({ path, type: 'dir', mode: 0o755, ...more });
const link = (path: string, linkTarget: string): Spec => ({ path, type: 'symlink', linkTarget });

function imageOf(...layers: Spec[][]): ImageTree {
  const roots = layers.map((specs) => {
    const entries = specs.map((spec): IndexEntry => ({ ...plainEntry, ...spec }));
    return buildTree({ entries, chunks: new ChunkColumns() }).root;
  });
  return new ImageTree(roots);
}

/** The paths of everything in an image with the layer that each comes from. */
function everything(tree: ImageTree): string[] {
  const found: string[] = [];
  for (const todo = [tree.find('/')]; todo.length > 0; ) {
    for (const file of tree.list(todo.shift()!)) {
      found.push(`${file.path} ${file.layer}`);
      if (file.isDirectory) todo.push(file);
    }
  }
  return found.sort();
}

test('ImageTree shows the uppermost of several layers, without what whiteouts and opaque directories hide', () => {
  const tree = imageOf(
    [
      ...['kept', 'gone', 'opaque', 'turns'].map((path) => dir(path)),
      ...['kept/a', 'kept/b', 'gone/a', 'opaque/hidden', 'turns/inside', 'file'].map((path) => ({ path })),
    ],
    [{ path: 'kept/b' }, { path: '.wh.gone' }, { path: 'opaque/.wh..wh..opq' }, { path: 'opaque/seen' }, dir('file')],
    [dir('gone'), { path: 'gone/again' }, { path: 'turns' }, { path: 'file/inside' }, { path: 'opaque/.wh.nothing' }],
  );
  assert.deepEqual(everything(tree), [
    'file 1',
    'file/inside 2',
    'gone 2',
    'gone/again 2',
    'kept 0',
    'kept/a 0',
    'kept/b 1',
    'opaque 2',
    'opaque/seen 1',
    'turns 2',
  ]);
  assert.throws(() => tree.find('/gone/a'), /Cannot find "\/gone\/a" in the image: there is no "\/gone\/a"/);
});

test('ImageTree keeps the owner and mode of a lower layer for a directory that a layer only implies', () => {
  const tree = imageOf([dir('home', { mode: 0o700, uid: 1000 }), dir('home/sub')], [{ path: 'home/file' }]);
  const { entry, layer, links } = tree.find('home');
  assert.deepEqual([entry.mode, entry.uid, layer, links], [0o700, 1000, 0, 3]);
});

test('ImageTree follows symlinks inside the image, and .. does not lead out of it', () => {
  const tree = imageOf(
    [link('bin', 'usr/bin'), dir('usr'), dir('usr/bin'), link('usr/bin/sh', './dash'), { path: 'usr/bin/dash' }],
    [link('etc', '/usr/../usr'), link('up', '../../../usr/bin'), link('usr/bin/self', '../../bin/dash')],
  );
  const paths = ['/bin/sh', 'etc/bin/self', '/up/dash', '../../bin/../bin/dash', '//bin/./dash/'];
  assert.deepEqual(
    paths.map((path) => tree.find(path).path),
    paths.map(() => 'usr/bin/dash'),
  );
  assert.deepEqual(
    tree.list(tree.find('/bin')).map(({ path, entry }) => [path, entry.type]),
    [
      ['usr/bin/dash', 'reg'],
      ['usr/bin/self', 'symlink'],
      ['usr/bin/sh', 'symlink'],
    ],
  );
});

test('ImageTree says where a path ends that leads nowhere', () => {
  const tree = imageOf([link('a', 'b'), link('b', '/a'), { path: 'file' }, link('dangling', 'to/nothing')]);
  assert.throws(() => tree.find('/a/x'), /more than 40 symlinks/);
  assert.throws(() => tree.find('file/x'), /"\/file" is not a directory/);
  assert.throws(() => tree.find('dangling'), /there is no "\/to"/);
  assert.throws(() => tree.find('x'.repeat(5000)), /too long/);
  const deep = imageOf([link('l', `${'d/'.repeat(1500)}..`), dir('d')]);
  assert.throws(() => deep.find('l'), /there is no "\/d\/d"/);
});

test('ImageTree does not show files at a wrong place that unpacking would put behind a symlink of a lower layer', () => {
  const tree = imageOf([link('bin', 'usr/bin'), dir('usr/bin')], [{ path: 'bin/tool' }]);
  assert.throws(() => tree.find('bin'), /Cannot show "\/bin": .* only unpacking follows that/);
  const replaced = imageOf([link('bin', 'usr/bin')], [dir('bin'), { path: 'bin/tool' }]);
  assert.equal(replaced.find('bin/tool').layer, 1);
});

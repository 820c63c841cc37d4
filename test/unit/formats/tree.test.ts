import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LazypullError } from '../../../src/errors.ts';
import { ChunkColumns } from '../../../src/formats/chunk-columns.ts';
import { type EntryType, type IndexEntry, plainEntry } from '../../../src/formats/layer-index.ts';
import { buildTree, type LayerTree } from '../../../src/formats/tree.ts';
import type { TreeNode } from '../../../src/formats/tree-node.ts';

type Spec = [path: string, type: EntryType, more?: Partial<IndexEntry>];

function entryOf([path, type, more]: Spec, index: number): IndexEntry {
  return { ...plainEntry, path, type, uid: index, mtimeSeconds: 1000 + index, ...more };
}

const treeOf = (...specs: Spec[]): LayerTree => buildTree({ entries: specs.map(entryOf), chunks: new ChunkColumns() });

/** Each path with its type, and the uid by which a test knows the entry: its index. */
function list({ root }: LayerTree): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (path: string, { entry, children }: TreeNode) => {
    found[path] = `${entry.type} ${entry.uid}`;
    for (const [name, child] of children ?? []) visit(path === '' ? name : `${path}/${name}`, child);
  };
  visit('', root);
  return found;
}

function at({ root }: LayerTree, path: string): TreeNode {
  let node = root;
  for (const name of path.split('/').filter((part) => part !== '')) node = node.children!.get(name)!;
  return node;
}

const refuses = (code: string, message: RegExp, ...specs: Spec[]) =>
  assert.throws(
    () => treeOf(...specs),
    (error) => {
      assert.ok(error instanceof LazypullError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    },
  );
/** A link that says nothing of the file. */
const link = (path: string, linkTarget: string): Spec => [path, 'hardlink', { linkTarget, mode: 0 }];

test('buildTree gives an empty layer a root', () => {
  const { root, landmark } = treeOf();
  assert.equal(root.entry.mode, 0o755);
  assert.equal(root.links, 2);
  assert.equal(root.children!.size, 0);
  assert.deepEqual(landmark, { kind: 'none' });
});

test('buildTree takes the root entry under any name', () => {
  for (const path of ['./', '/', '.', '', '..', 'a/..']) {
    const tree = treeOf([path, 'dir', { mode: 0o700 }]);
    assert.equal(tree.root.entry.mode, 0o700);
    assert.equal(tree.root.children!.size, 0);
  }
  refuses('Unimplemented', /root of a layer must be a directory/, ['./', 'reg']);
  refuses('Unimplemented', /root of a layer must be a directory/, link('/', 'x'));
});

test('buildTree keeps paths below the root', () => {
  const tree = treeOf(['../../etc/passwd', 'reg'], ['/abs', 'reg'], ['a/../../b', 'reg'], ['./c//d/', 'dir']);
  assert.deepEqual(list(tree), {
    '': 'dir 0',
    etc: 'dir 0',
    'etc/passwd': 'reg 0',
    abs: 'reg 1',
    b: 'reg 2',
    c: 'dir 0',
    'c/d': 'dir 3',
  });
});

test('buildTree makes directories that no entry names, and takes their attributes when one comes', () => {
  const tree = treeOf(['a/b/c', 'reg'], ['a', 'dir', { mode: 0o711 }], ['a/d', 'reg']);
  assert.equal(at(tree, 'a').entry.mode, 0o711);
  assert.equal(at(tree, 'a/b').entry.mode, 0o755);
  assert.equal(at(tree, 'a/b').entry.mtimeSeconds, 0);
  assert.deepEqual([...at(tree, 'a').children!.keys()], ['b', 'd']);
});

test('buildTree lets the last entry of a name win', () => {
  const files = treeOf(['f', 'reg'], ['f', 'symlink', { linkTarget: 'x' }], ['./f', 'fifo']);
  assert.deepEqual(list(files), { '': 'dir 0', f: 'fifo 2' });
  const directories = treeOf(['d', 'dir'], ['d/x', 'reg'], ['d/', 'dir']);
  assert.deepEqual(list(directories), { '': 'dir 0', d: 'dir 2', 'd/x': 'reg 1' });
  const overDirectory = treeOf(['d', 'dir'], ['d/x', 'reg'], ['d', 'reg']);
  assert.deepEqual(list(overDirectory), { '': 'dir 0', d: 'reg 2' });
  const overFile = treeOf(['d', 'reg'], ['d', 'dir'], ['d/x', 'reg']);
  assert.deepEqual(list(overFile), { '': 'dir 0', d: 'dir 1', 'd/x': 'reg 2' });
  const back = treeOf(['d/x', 'reg'], ['d', 'reg'], ['d', 'dir'], ['d/y', 'reg']);
  assert.deepEqual(list(back), { '': 'dir 0', d: 'dir 2', 'd/y': 'reg 3' });
});

test('buildTree refuses an entry below what is not a directory', () => {
  refuses('Unimplemented', /"lib" is not a directory/, ['lib', 'symlink', { linkTarget: 'usr' }], ['lib/a', 'reg']);
  refuses('Unimplemented', /"a\/f" is not a directory/, ['a/f', 'reg'], ['a/f/x/y', 'reg']);
  refuses('Unimplemented', /"d" is not a directory/, ['d/x', 'reg'], ['d', 'reg'], ['d/x', 'reg']);
});

test('buildTree counts links', () => {
  const tree = treeOf(['d/a', 'reg'], link('d/b', 'd/a'), link('c', './d/b'), ['d/e', 'dir'], ['d/e/f', 'dir']);
  assert.equal(at(tree, 'd/a').links, 3);
  assert.equal(at(tree, 'c'), at(tree, 'd/a'));
  assert.equal(at(tree, 'd').links, 3);
  assert.equal(at(tree, 'd/e').links, 3);
  assert.equal(at(tree, 'd/e/f').links, 2);
  assert.equal(tree.root.links, 3);
});

test('buildTree resolves hard links that precede their target, and chains', () => {
  const tree = treeOf(link('a', 'b'), link('b', 'x/c'), link('z', 'a'), ['x/c', 'reg']);
  assert.equal(at(tree, 'x/c').links, 4);
  for (const path of ['a', 'b', 'z']) assert.equal(at(tree, path), at(tree, 'x/c'));
});

test('buildTree links to what the name means at that point of the tar', () => {
  const tree = treeOf(['a', 'reg'], link('b', 'a'), ['a', 'reg'], link('c', 'a'));
  assert.deepEqual(list(tree), { '': 'dir 0', a: 'reg 2', b: 'reg 0', c: 'reg 2' });
  assert.equal(at(tree, 'b').links, 1);
  assert.equal(at(tree, 'c').links, 2);
  const itself = treeOf(['a', 'reg'], link('a', 'a'));
  assert.equal(at(itself, 'a').links, 1);
});

test('buildTree links to symlinks and devices too', () => {
  const tree = treeOf(['s', 'symlink', { linkTarget: 'x' }], link('t', 's'), ['c', 'char'], link('d', 'c'));
  assert.equal(at(tree, 't').entry.type, 'symlink');
  assert.equal(at(tree, 'd').links, 2);
});

test('buildTree refuses hard links that cannot be', () => {
  refuses('Unimplemented', /there is no "nowhere" in this layer/, link('a', 'nowhere'));
  refuses('Unimplemented', /is a directory/, ['d', 'dir'], link('a', 'd'));
  refuses('Unimplemented', /is a directory/, link('a', 'd'), ['d', 'dir']);
  refuses('Unimplemented', /is a directory/, link('a', ''));
  refuses('Unimplemented', /there is no/, link('a', 'f/x'), ['f', 'reg']);
  refuses('DataLoss', /leads to itself/, link('a', 'a'));
  refuses('DataLoss', /leads to itself/, link('a', 'b'), link('b', 'c'), link('c', 'b'));
  const replaced = treeOf(link('a', 'nowhere'), ['a', 'reg']);
  assert.deepEqual(list(replaced), { '': 'dir 0', a: 'reg 1' });
});

test('buildTree resolves a long chain of links in time', () => {
  const specs = Array.from({ length: 100_000 }, (_, i) => link(`l${i}`, `l${i + 1}`));
  const tree = treeOf(...specs, ['l100000', 'reg']);
  assert.equal(at(tree, 'l0').links, 100_001);
});

test('buildTree turns whiteouts into what overlayfs knows', () => {
  const xattrs = new Map([['user.a', Buffer.from('1')]]);
  const tree = treeOf(
    ['d', 'dir', { xattrs }],
    ['d/.wh.gone', 'reg', { mode: 0o600, xattrs }],
    ['d/.wh..wh..opq', 'reg'],
    ['.wh.there', 'reg'],
    ['there', 'reg'],
    ['.wh..wh.plnk', 'dir'],
    ['.wh..wh.plnk/x', 'reg'],
    ['.wh.', 'reg'],
    ['.wh..', 'reg'],
    ['.wh...', 'reg'],
    ['.wh.tree/below', 'reg'],
    link('.wh.linked', 'nowhere'),
  );
  assert.deepEqual(list(tree), {
    '': 'dir 0',
    d: 'dir 0',
    'd/gone': 'char 0',
    there: 'reg 4',
    tree: 'char 0',
    linked: 'char 0',
  });
  const { entry, links } = at(tree, 'd/gone');
  assert.deepEqual([entry.mode, entry.uid, entry.devMajor, entry.devMinor, entry.xattrs], [0, 0, 0, 0, undefined]);
  assert.equal(entry.mtimeSeconds, 1001);
  assert.equal(links, 1);
  assert.deepEqual(
    at(tree, 'd').entry.xattrs,
    new Map([
      ['user.a', Buffer.from('1')],
      ['trusted.overlay.opaque', Buffer.from('y')],
    ]),
  );
});

test('buildTree makes the root, and a directory that no entry names, opaque', () => {
  const tree = treeOf(['.wh..wh..opq', 'reg'], ['a/.wh..wh..opq', 'reg'], ['b', 'dir']);
  assert.ok(tree.root.entry.xattrs?.has('trusted.overlay.opaque'));
  assert.ok(at(tree, 'a').entry.xattrs?.has('trusted.overlay.opaque'));
  assert.equal(at(tree, 'b').entry.xattrs, undefined);
  assert.equal(treeOf(['a/x', 'reg']).root.entry.xattrs, undefined);
});

test('buildTree does not let a publisher say things to overlayfs', () => {
  const xattrs = new Map([
    ['trusted.overlay.redirect', Buffer.from('/etc')],
    ['trusted.other', Buffer.from('1')],
    ['user.kept', Buffer.from('1')],
  ]);
  const tree = treeOf(['d', 'dir', { xattrs }], ['s', 'symlink', { xattrs, linkTarget: 'd' }]);
  assert.deepEqual([...at(tree, 'd').entry.xattrs!.keys()], ['user.kept']);
  assert.equal(at(tree, 's').entry.xattrs, undefined);
  assert.equal(xattrs.size, 3);
});

test('buildTree adds the attributes of a hard link to the file that it is a name of', () => {
  const one = new Map([['user.one', Buffer.from('1')]]);
  const two = new Map([
    ['user.two', Buffer.from('2')],
    ['trusted.two', Buffer.from('2')],
  ]);
  const tree = treeOf(
    ['f', 'reg', { xattrs: one }],
    ['l', 'hardlink', { linkTarget: 'f', xattrs: two }],
    ['s', 'symlink', { linkTarget: 'f' }],
    ['t', 'hardlink', { linkTarget: 's', xattrs: two }],
  );
  assert.deepEqual([...at(tree, 'f').entry.xattrs!.keys()], ['user.one', 'user.two']);
  assert.equal(at(tree, 's').entry.xattrs, undefined);
});

test('buildTree sets owner, mode and time of a hard link on the file that it is a name of, as unpacking does', () => {
  const capability = ['security.capability', Buffer.from('0100000200200000000000000000000000000000', 'hex')] as const;
  const xattrs = new Map([['user.one', Buffer.from('1')], capability]);
  const link: Partial<IndexEntry> = { linkTarget: 'f', mode: 0o4711, uid: 70, gid: 71, mtimeNanoseconds: 5 };
  const of = (tree: LayerTree, path: string) => {
    const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs: left } = at(tree, path).entry;
    return [mode.toString(8), uid, gid, mtimeSeconds, mtimeNanoseconds, [...(left?.keys() ?? [])].join()];
  };
  const tree = treeOf(['f', 'reg', { xattrs }], ['l', 'hardlink', link]);
  assert.deepEqual(of(tree, 'f'), ['4711', 70, 71, 1001, 5, 'user.one']);
  assert.equal(at(tree, 'l'), at(tree, 'f'));
  const symlink = treeOf(['f', 'symlink', { linkTarget: 'x', mode: 0o777 }], ['l', 'hardlink', link]);
  assert.deepEqual(of(symlink, 'f'), ['777', 70, 71, 1001, 5, '']);
  assert.equal(at(treeOf(['s', 'symlink', { linkTarget: 'x', mode: 0o600 }]), 's').entry.mode, 0o777);
  const kept = treeOf(['f', 'reg', { xattrs }], ['l', 'hardlink', { ...link, xattrs: new Map([capability]) }]);
  assert.deepEqual(of(kept, 'f'), ['4711', 70, 71, 1001, 5, 'user.one,security.capability']);
  const silent = treeOf(['f', 'reg', { xattrs }], ['l', 'hardlink', { ...link, mode: 0 }]);
  assert.deepEqual(of(silent, 'f'), ['644', 0, 0, 1000, 0, 'user.one,security.capability']);
});

test('buildTree has times that unpacking does not set be those of 1970', () => {
  const times: [seconds: number, nanoseconds: number, isSet: boolean][] = [
    [-1, 0, false],
    [-1, 999_999_999, false],
    [0, 1, true],
    [9_223_372_036, 854_775_807, true],
    [9_223_372_036, 854_775_808, false],
    [9_223_372_037, 0, false],
  ];
  for (const [seconds, nanoseconds, isSet] of times) {
    const time = { mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds };
    const tree = treeOf(['d', 'dir', time], ['f', 'reg'], ['l', 'hardlink', { ...time, linkTarget: 'f' }]);
    for (const path of ['d', 'f']) {
      const { mtimeSeconds, mtimeNanoseconds } = at(tree, path).entry;
      assert.deepEqual([mtimeSeconds, mtimeNanoseconds], isSet ? [seconds, nanoseconds] : [0, 0]);
    }
  }
});

test('buildTree reads the landmark and hides the files of the format', () => {
  const chunks = new ChunkColumns();
  chunks.add(500, 0, 1);
  const file: Partial<IndexEntry> = { size: 1, firstChunk: 0, chunkCount: 1 };
  const specs: Spec[] = [
    ['.prefetch.landmark', 'reg', file],
    ['stargz.index.json', 'reg', file],
    ['d/.prefetch.landmark', 'reg', file],
  ];
  const tree = buildTree({ entries: specs.map(entryOf), chunks });
  assert.deepEqual(tree.landmark, { kind: 'prefetch', offset: 500 });
  assert.deepEqual(list(tree), { '': 'dir 0', d: 'dir 0', 'd/.prefetch.landmark': 'reg 2' });
  const both = buildTree({ entries: [...specs, ['.no.prefetch.landmark', 'reg'] as Spec].map(entryOf), chunks });
  assert.deepEqual(both.landmark, { kind: 'noprefetch' });
  assert.deepEqual(treeOf(['.prefetch.landmark', 'dir']).landmark, { kind: 'none' });
});

test('buildTree bounds names, targets and the number of files', () => {
  const target = 't'.repeat(4095);
  assert.equal(at(treeOf(['s', 'symlink', { linkTarget: target }]), 's').entry.linkTarget, target);
  refuses('ResourceExhausted', /4096 bytes/, ['s', 'symlink', { linkTarget: `${target}t` }]);
  refuses('InvalidArgument', /Cannot link/, ['s', 'symlink', { linkTarget: '' }]);
  refuses('InvalidArgument', /Cannot link/, ['s', 'symlink', { linkTarget: 'a\0b' }]);
  refuses('InvalidArgument', /NUL/, ['a\0', 'reg']);
  refuses('InvalidArgument', /NUL/, link('a', 'b\0'));
  refuses('ResourceExhausted', /more than 255 bytes/, ['n'.repeat(256), 'reg']);
  const deep = Array.from({ length: 300 }, (_, i): Spec => [`${i}/${'a/'.repeat(2000)}x`, 'reg']);
  refuses('ResourceExhausted', /more than 50000 directories without an entry/, ...deep);
  const entries = Array.from({ length: 500_001 }, (_, i) => entryOf([String(i), 'reg'], i));
  const tooMany = { code: 'ResourceExhausted', message: /more than 500000 files/ };
  assert.throws(() => buildTree({ entries, chunks: new ChunkColumns() }), tooMany);
});

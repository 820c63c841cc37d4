import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IndexEntry } from '../../../../src/formats/layer-index.ts';
import type { TreeNode } from '../../../../src/formats/tree-node.ts';
import { companionsOf } from '../../../../src/layers/prefetch/profiles.ts';

/** A tree of files at these paths, which each entry names. */
function treeOf(paths: readonly string[]): TreeNode {
  const directory = (): TreeNode => ({ entry: { type: 'dir', path: '' } as IndexEntry, links: 2, children: new Map() });
  const root = directory();
  for (const path of paths) {
    let at = root;
    const parts = path.split('/');
    const name = parts.pop()!;
    for (const part of parts) {
      const children = at.children!;
      if (!children.has(part)) children.set(part, directory());
      at = children.get(part)!;
    }
    at.children!.set(name, { entry: { type: 'reg', path } as IndexEntry, links: 1, children: undefined });
  }
  return root;
}

/** What the programs of a tree of these files read next, by the path of the program. */
function companions(paths: readonly string[]): Record<string, { files: string[]; texts: string[] }> {
  const root = treeOf(paths);
  const resolve = (path: string): TreeNode | undefined =>
    path.split('/').reduce<TreeNode | undefined>((node, part) => node?.children?.get(part), root);
  const pathsOf = (nodes: readonly TreeNode[]) => nodes.map(({ entry }) => entry.path).sort();
  return Object.fromEntries(
    companionsOf(root, resolve).map(({ program, files, texts }) => [
      program.entry.path,
      { files: pathsOf(files), texts: pathsOf(texts) },
    ]),
  );
}

test('companionsOf finds the modules of a Python, compiled ones before sources, and none of another version', () => {
  const lib = 'usr/lib/python3.12';
  const found = companions([
    'usr/bin/python3.12',
    `${lib}/encodings/__pycache__/__init__.cpython-312.pyc`,
    `${lib}/encodings/__init__.py`,
    `${lib}/encodings/aliases.py`,
    `${lib}/os.py`,
    'usr/lib/python3.9/encodings/utf_8.py',
    'usr/lib/x86_64-linux-gnu/libexpat.so.1',
  ]);
  assert.deepEqual(found, {
    'usr/bin/python3.12': {
      files: [
        `${lib}/encodings/__pycache__/__init__.cpython-312.pyc`,
        `${lib}/encodings/aliases.py`,
        'usr/lib/x86_64-linux-gnu/libexpat.so.1',
      ].sort(),
      texts: [],
    },
  });
});

test('companionsOf knows that a Python before 3.11 reads its own modules', () => {
  const found = companions([
    'usr/local/bin/python3.9',
    'usr/local/lib/python3.9/os.py',
    'usr/local/lib/python3.9/io.py',
  ]);
  assert.deepEqual(found['usr/local/bin/python3.9']?.files, [
    'usr/local/lib/python3.9/io.py',
    'usr/local/lib/python3.9/os.py',
  ]);
});

test('companionsOf follows GCC from its driver to the linker, and gives headers to the compilers alone', () => {
  const gcc = 'usr/libexec/gcc/x86_64-linux-gnu/14';
  const found = companions([
    'usr/bin/g++',
    `${gcc}/cc1plus`,
    'usr/bin/as',
    'usr/bin/ld',
    `${gcc}/collect2`,
    'usr/include/stdio.h',
    'usr/include/c++/14/vector',
    'usr/include/x86_64-linux-gnu/bits/types.h',
  ]);
  assert.deepEqual(found['usr/bin/g++'], { files: [`${gcc}/cc1plus`], texts: [] });
  assert.deepEqual(found[`${gcc}/cc1plus`], {
    files: ['usr/bin/as'],
    texts: ['usr/include/c++/14/vector', 'usr/include/stdio.h', 'usr/include/x86_64-linux-gnu/bits/types.h'].sort(),
  });
  assert.deepEqual(found['usr/bin/as'], { files: ['usr/bin/ld', `${gcc}/collect2`].sort(), texts: [] });
});

test('companionsOf says nothing of programs alone, nor of files without their program', () => {
  assert.deepEqual(companions(['usr/bin/python3.12', 'usr/bin/gcc', 'usr/bin/dpkg']), {});
  assert.deepEqual(companions(['usr/lib/python3.12/os.py', 'usr/include/stdio.h', 'bin/sh']), {});
});

test('companionsOf finds a bounded number of files, however many a tree has', () => {
  const packages = Array.from({ length: 5_000 }, (_, i) => `var/lib/dpkg/info/p${i}.list`);
  const pythons = Array.from({ length: 500 }, (_, i) => [
    `usr/bin/python3.${i}`,
    `usr/lib/python3.${i}/sitecustomize.py`,
  ]);
  const found = companions(['usr/bin/dpkg', ...packages, ...pythons.flat()]);
  assert.ok(Object.keys(found).length <= 64);
  const dpkg = companions(['usr/bin/dpkg', ...packages])['usr/bin/dpkg'];
  assert.equal(dpkg?.texts.length, 1024);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planDisk } from '../../../../src/fronts/erofs/plan.ts';
import { readTocJson } from '../../../../src/formats/estargz/toc.ts';
import { buildTree } from '../../../../src/formats/tree.ts';
import { hintsOf } from '../../../../src/layers/prefetch/layer-hints.ts';

const digest = `sha256:${'ab'.repeat(32)}`;

function hints(rows: readonly object[]) {
  const entries = rows.map((row) => ({ type: 'reg', size: 100, chunkDigest: digest, ...row }));
  const tree = buildTree(readTocJson(Buffer.from(JSON.stringify({ entries })), 1e9));
  const plan = planDisk(tree, { digest });
  return { plan, ...hintsOf(tree, plan) };
}

/** Of files that lie in the blob in this order, the row of each its index. */
function hintsOfFiles(names: readonly string[], links: readonly object[]) {
  return hints([...names.map((name, i) => ({ name, offset: i * 1000 })), ...links]);
}

test('hintsOf names the chunks of what a shell and the C library read, links followed', () => {
  const { plan, start, libraries } = hints([
    { name: 'usr/lib/libz.so.1', offset: 900 },
    { name: 'bin', type: 'symlink', linkName: 'usr/bin' },
    { name: 'usr/bin/sh', type: 'symlink', linkName: 'dash' },
    { name: 'usr/bin/dash', offset: 500, innerOffset: 512 },
    { name: 'usr/lib/libc.so.6', offset: 500 },
  ]);
  assert.deepEqual([...plan.chunks.streamOffset], [500, 500, 900]);
  assert.deepEqual(start, [
    { first: 1, last: 2 },
    { first: 0, last: 1 },
  ]);
  assert.deepEqual(libraries, { 'libz.so.1': { first: 2, last: 3 }, 'libc.so.6': { first: 0, last: 1 } });
});

test('hintsOf does not keep the planner busy with a hundred thousand libraries in one stream', {
  timeout: 20_000,
}, () => {
  const count = 100_000;
  const { libraries } = hints(
    Array.from({ length: count }, (_, i) => ({ name: `lib/l${i}.so`, innerOffset: i * 512 })),
  );
  assert.equal(Object.keys(libraries).length, count);
  assert.deepEqual(libraries[`l${count - 1}.so`], { first: count - 1, last: count });
});

test('hintsOf ignores the content of a directory in place of a start file', () => {
  const { start } = hints(Array.from({ length: 10_000 }, (_, i) => ({ name: `bin/sh/${i}`, offset: i })));
  assert.equal(start.length, 256);
});

test('hintsOf knows what interpreters and compilers of the layer read next', () => {
  const names = [
    'usr/bin/python3.11',
    'usr/lib/python3.11/encodings/__init__.py',
    'usr/lib/python3.11/encodings/__pycache__/__init__.cpython-311.pyc',
    'usr/lib/python3.11/encodings/utf_8.py',
    'usr/lib/python3.11/os.py',
    'usr/bin/x86_64-linux-gnu-g++-12',
    'usr/lib/gcc/x86_64-linux-gnu/12/cc1',
    'usr/lib/gcc/x86_64-linux-gnu/12/cc1plus',
    'usr/bin/x86_64-linux-gnu-as',
    'usr/bin/python3.11-config',
  ];
  const links = [
    { name: 'usr/bin/g++', type: 'symlink', linkName: 'g++-12' },
    { name: 'usr/bin/g++-12', type: 'symlink', linkName: 'x86_64-linux-gnu-g++-12' },
    { name: 'usr/bin/as', type: 'symlink', linkName: 'x86_64-linux-gnu-as' },
  ];
  const { companions } = hintsOfFiles(names, links);
  const found = Object.entries(companions).map(([row, { files }]) => [
    names[Number(row)],
    files.map(({ first }) => names[first]),
  ]);
  assert.deepEqual(found, [
    ['usr/bin/python3.11', [names[2], names[3]]],
    ['usr/bin/x86_64-linux-gnu-g++-12', ['usr/lib/gcc/x86_64-linux-gnu/12/cc1plus']],
    ['usr/lib/gcc/x86_64-linux-gnu/12/cc1', ['usr/bin/x86_64-linux-gnu-as']],
    ['usr/lib/gcc/x86_64-linux-gnu/12/cc1plus', ['usr/bin/x86_64-linux-gnu-as']],
  ]);
});

test('hintsOf knows the libraries of a compiler, and its headers as few runs', () => {
  const names = [
    'usr/include/c++/12/bits/a.h',
    'usr/include/c++/12/bits/b.h',
    'usr/include/c++/12/iostream',
    'usr/include/c++/12/tr1/other.h',
    'usr/include/linux/errno.h',
    'usr/include/linux/other.h',
    'usr/include/stdio.h',
    'usr/include/x86_64-linux-gnu/bits/types.h',
    'usr/lib/gcc/x86_64-linux-gnu/12/cc1plus',
    'usr/lib/gcc/x86_64-linux-gnu/12/include/stddef.h',
    'usr/lib/x86_64-linux-gnu/libmpc.so.3.3.1',
  ];
  const links = [{ name: 'usr/lib/x86_64-linux-gnu/libmpc.so.3', type: 'symlink', linkName: 'libmpc.so.3.3.1' }];
  const { companions } = hintsOfFiles(names, links);
  assert.deepEqual(Object.keys(companions), ['8']);
  assert.deepEqual(companions[8]!.files, [{ first: 10, last: 11 }]);
  assert.deepEqual(companions[8]!.texts, [
    { first: 0, last: 3 },
    { first: 4, last: 5 },
    { first: 6, last: 8 },
    { first: 9, last: 10 },
  ]);
});

test('hintsOf knows what the package manager of Debian reads', () => {
  const names = [
    'etc/apt/apt.conf.d/70debconf',
    'usr/bin/apt-get',
    'usr/bin/dpkg',
    'usr/lib/apt/methods/http',
    'usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0.0',
    'var/lib/dpkg/info/bash.list',
    'var/lib/dpkg/info/bash.md5sums',
    'var/lib/dpkg/status',
    'var/lib/dpkg/triggers/File',
  ];
  const links = [
    { name: 'usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0', type: 'symlink', linkName: 'libapt-pkg.so.6.0.0' },
  ];
  const { companions } = hintsOfFiles(names, links);
  const rows = (ranges: readonly { first: number; last: number }[]) => ranges.map(({ first, last }) => [first, last]);
  assert.deepEqual(Object.keys(companions), ['1', '2']);
  assert.deepEqual(rows(companions[1]!.files.toSorted((a, b) => a.first - b.first)), [
    [2, 3],
    [3, 4],
    [4, 5],
    [7, 8],
  ]);
  assert.deepEqual(rows(companions[1]!.texts), [[0, 1]]);
  assert.deepEqual(rows(companions[2]!.files), [[7, 8]]);
  assert.deepEqual(rows(companions[2]!.texts), [
    [5, 6],
    [7, 9],
  ]);
});

test('hintsOf does not keep the planner busy with a hundred thousand headers', { timeout: 20_000 }, () => {
  const rows = Array.from({ length: 100_000 }, (_, i) => ({ name: `usr/include/h${i}.h`, offset: i * 2 }));
  const other = Array.from({ length: 100_000 }, (_, i) => ({ name: `srv/o${i}`, offset: i * 2 + 1 }));
  const { companions } = hints([...rows, ...other, { name: 'usr/lib/gcc/x/12/cc1', offset: 300_000 }]);
  assert.equal(companions[200_000]!.texts.length, 32);
});

test('hintsOf takes little longer for dozens of compilers than for a single one', () => {
  const headers = Array.from({ length: 50_000 }, (_, i) => ({
    name: `usr/include/d${i % 500}/c++/${i % 7}/bits/h${i}`,
    offset: 1000 + i,
  }));
  const cpuOf = (compilers: number): number => {
    const rows = Array.from({ length: compilers }, (_, i) => ({ name: `usr/lib/gcc/x/${i}/cc1plus`, offset: i }));
    const before = process.cpuUsage();
    const { companions } = hints([...rows, ...headers]);
    assert.equal(Object.keys(companions).length, compilers);
    assert.ok(companions[0]!.texts.reduce((sum, { first, last }) => sum + last - first, 0) <= 1024);
    return process.cpuUsage(before).user;
  };
  const one = cpuOf(1);
  assert.ok(cpuOf(64) < 3 * one);
});

test('hintsOf does not keep the planner busy with a hundred thousand pythons', { timeout: 20_000 }, () => {
  const rows = Array.from({ length: 100_000 }, (_, i) => ({ name: `usr/bin/python3.${i}`, offset: i }));
  const { companions } = hints([...rows, { name: 'usr/lib/python3.5/os.py', offset: 200_000 }]);
  assert.ok(Object.keys(companions).length <= 64);
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import type { DiskPlan } from '../../../src/fronts/front.ts';
import { planDisk } from '../../../src/fronts/erofs/plan.ts';
import { readToc, readTocJson } from '../../../src/formats/estargz/toc.ts';
import { buildTree, type LayerTree } from '../../../src/formats/tree.ts';
import { hintsOf } from '../../../src/layers/prefetch/layer-hints.ts';
import { stackingOf } from '../../../src/layers/plan/stacking.ts';
import { readImage } from '../../support/erofs-image.ts';
import { tocOf } from '../../support/estargz-blob.ts';
import type { Random } from '../random.ts';
import { scratchDirectory } from '../scratch.ts';
import type { Subject } from '../subject.ts';

const digest = `sha256:${'ab'.repeat(32)}`;
const dataEnd = 1_000_000;

const name = fc
  .array(fc.constantFrom('a', 'b', 'lib', 'libc.so.6', 'etc', '..', '.', '.wh.a', '.wh..wh..opq', ''), { maxLength: 4 })
  .map((parts) => parts.join('/'));
const row = fc.record(
  {
    name,
    type: fc.constantFrom('reg', 'reg', 'dir', 'symlink', 'hardlink', 'char', 'block', 'fifo', 'chunk'),
    size: fc.constantFrom(0, 1, 100, 5000, 70_000_000),
    modtime: fc.constantFrom('2020-01-02T03:04:05.6Z', '1900-01-01T00:00:00+01:00', ''),
    linkName: name,
    mode: fc.nat(0o7777),
    uid: fc.constantFrom(0, 4_294_967_295),
    offset: fc.constantFrom(0, 100, 200, 300),
    innerOffset: fc.constantFrom(0, 512, 1024),
    chunkOffset: fc.constantFrom(0, 50),
    chunkSize: fc.constantFrom(0, 50, 100),
    chunkDigest: fc.constant(digest),
    xattrs: fc.constantFrom({ 'user.a': 'YQ==' }, { 'trusted.overlay.opaque': 'eQ==' }, { 'security.capability': '' }),
    devMajor: fc.nat(4095),
  },
  { requiredKeys: ['name', 'type'] },
);
const table = fc.array(row, { maxLength: 12 }).map((entries) => ({ version: 1, entries }));
const tokens = [
  '{',
  '}',
  '[',
  ']',
  '"',
  ',',
  ':',
  'null',
  '\\u0041',
  '\\ufffd',
  '\\',
  '"name":"',
  '"type":"reg"',
  '../',
  '/',
].concat(['{"name":"a","type":"dir"}', `"chunkDigest":"${digest}"`, '"size":5000,', 'hardlink', 'chunk']);

/**
 * One accepted table in so many is laid out and checked as a whole, and one in so many of those also by another
 * program.
 */
const checkEvery = 40;
const fsckEvery = 100;

const json: Subject = {
  name: 'table of contents',
  weight: 100,
  inputs: table.map((value) => Buffer.from(JSON.stringify(value))),
  tokens,
  run(input, random) {
    const tree = buildTree(readTocJson(input, dataEnd));
    const plan = planDisk(tree, { digest });
    checkPlan(tree, plan);
    if (random.below(checkEvery) === 0) checkImage(plan, random);
  },
};

/** What the rest of the program relies on. */
function checkPlan(tree: LayerTree, plan: DiskPlan): void {
  const { metadata, diskBytes, chunks } = plan;
  assert.ok(metadata.length % 4096 === 0 && diskBytes % 4096 === 0 && metadata.length <= diskBytes);
  let end = metadata.length;
  for (let i = 0; i < chunks.length; i++) {
    assert.ok(chunks.diskOffset[i]! >= end && chunks.size[i]! > 0);
    end = chunks.diskOffset[i]! + chunks.size[i]!;
    assert.ok(chunks.streamOffset[i]! < chunks.streamEnd[i]! && chunks.streamEnd[i]! <= dataEnd);
  }
  assert.ok(end <= diskBytes);
  stackingOf(tree);
  const { start, libraries } = hintsOf(tree, plan);
  for (const { first, last } of [...start, ...Object.values(libraries)])
    assert.ok(first < last && last <= chunks.length);
}

const directory = scratchDirectory();

/** Reads the image with a reader of our own, and some with erofs-utils. */
function checkImage({ metadata, diskBytes }: DiskPlan, random: Random): void {
  const numbers = [...readImage(Buffer.from(metadata)).values()].map(({ ino }) => ino);
  const inodes = Buffer.from(metadata).readUInt32LE(1024 + 16); // of the superblock
  assert.equal(new Set(numbers).size, inodes - 1, 'all but the directory that holds the tree');
  if (random.below(fsckEvery) !== 0) return;
  const path = join(directory, 'image');
  writeFileSync(path, metadata);
  truncateSync(path, diskBytes);
  const { status, stderr, stdout } = spawnSync('fsck.erofs', [path], { encoding: 'utf8' });
  assert.equal(status, 0, `fsck.erofs: ${stdout}${stderr}`);
}

const compressed: Subject = {
  name: 'compressed table of contents',
  weight: 25,
  inputs: table.map(({ entries }) => tocOf(entries).toc),
  tokens: ['\x1f\x8b\x08\0\0\0\0\0\0\0', '\x03\0\0\0\0\0\0\0\0\0', 'stargz.index.json'],
  run(input) {
    readToc(input, { tocDigest: digest, blobSize: dataEnd, tocOffset: 10 });
  },
};

export const tables: readonly Subject[] = [json, compressed];

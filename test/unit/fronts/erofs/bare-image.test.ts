import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkColumns } from '../../../../src/formats/chunk-columns.ts';
import { plainEntry } from '../../../../src/formats/layer-index.ts';
import { buildTree } from '../../../../src/formats/tree.ts';
import { unwrapTree, wrapTree } from '../../../../src/fronts/erofs/bare-image.ts';
import { planDisk } from '../../../../src/fronts/erofs/plan.ts';
import { blockBytes, moveRoot, rootOffsetOf } from '../../../../src/fronts/erofs/superblock.ts';

test('wrapTree changes nothing but what comes before the first inode, and unwrapTree undoes it', () => {
  const entries = [{ ...plainEntry, path: 'file', size: 0 }];
  const tree = buildTree({ entries, chunks: new ChunkColumns() });
  const disk = planDisk(tree, { digest: `sha256:${'1'.repeat(64)}` }).metadata as Buffer;
  const bare = Buffer.from(disk.subarray(0, blockBytes));
  moveRoot(bare, rootOffsetOf(bare) + 128); // another inode
  const block = Buffer.from(bare);
  wrapTree(block);
  assert.notDeepEqual(block, bare);
  assert.ok(rootOffsetOf(block) < 1024);
  assert.ok(block.subarray(1024 + 128).equals(bare.subarray(1024 + 128)));
  const again = Buffer.from(block);
  unwrapTree(block);
  assert.deepEqual(block, bare);
  wrapTree(block);
  assert.deepEqual(block, again);
});

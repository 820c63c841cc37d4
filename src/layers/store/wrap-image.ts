import { hash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { LazypullError } from '../../errors.ts';
import { unwrapTree, wrapTree } from '../../fronts/erofs/bare-image.ts';
import { blockBytes } from '../../fronts/erofs/superblock.ts';
import type { LayerDirectory, LayerRecord } from './layer-directory.ts';

/**
 * Makes of a layer with a bare image one whose image has the tree in a directory. Its data stays where it is, its file
 * stays the same to the kernel, and what is mounted of it can still be read. May be cut short at any moment, and done
 * again.
 *
 * @throws DataLoss if the image is not the record's
 * @returns the record, which has been written
 */
export async function wrapImage(directory: LayerDirectory, record: LayerRecord): Promise<LayerRecord> {
  await using disk = await open(directory.diskPath, 'r+');
  const metadata = Buffer.alloc(record.metadataBytes);
  await disk.read(metadata, 0, metadata.length, 0);
  const block = metadata.subarray(0, blockBytes);
  if (hash('sha256', metadata) !== record.sums.metadata) {
    unwrapTree(block); // it was wrapped, and the record was not written any more
    if (hash('sha256', metadata) !== record.sums.metadata) {
      throw new LazypullError('DataLoss', 'The metadata is damaged');
    }
  }
  wrapTree(block);
  await disk.write(block, 0, block.length, 0);
  const { isBare: _, ...same } = record;
  const sums = { ...record.sums, metadata: hash('sha256', metadata) };
  const wrapped = { ...same, laidOutAs: record.laidOutAs ?? record.sums.metadata, sums };
  await directory.syncRecord(wrapped);
  return wrapped;
}

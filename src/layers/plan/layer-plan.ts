import type { ChunkTable } from '../../chunks/chunk-table.ts';
import type { Digest } from '../../chunks/digest.ts';
import type { LayerFormat, RawIndex, WantedIndex } from '../../formats/layer-format.ts';
import type { LayerTree } from '../../formats/tree.ts';
import type { WrittenData } from '../../fronts/erofs/data.ts';
import { planDisk } from '../../fronts/erofs/plan.ts';
import { type Hints, hintsOf } from '../prefetch/hints.ts';
import { type Stacking, stackingOf } from './stacking.ts';

/** Everything that is kept of an index. */
export interface LayerPlan extends DiskFiles {
  /** The digest of the index. */
  readonly indexDigest: Digest;
  readonly blobBytes: number;
}

/** The content of the files in a layer's directory, without the data. */
export interface DiskFiles {
  /** The start of the image: everything but the files' data. */
  readonly metadata: Uint8Array;
  readonly diskBytes: number;
  readonly chunks: ChunkTable;
  readonly codecData?: SharedArrayBuffer | undefined;
  readonly stacking: Stacking;
  readonly hints: Hints;
  /** A line for each file in the order of the image: its offset, a tab, its path in Latin-1. */
  readonly pathLines: string;
}

/**
 * Turns an index into an image without data.
 *
 * @throws as `LayerFormat.parse` and `planTree`
 */
export function planLayer(
  format: Pick<LayerFormat, 'parse' | 'treeOf'>,
  raw: RawIndex,
  wanted: WantedIndex,
): LayerPlan {
  const index = format.parse(raw, wanted);
  const { digest: indexDigest, blobBytes, codecData } = index;
  return { indexDigest, blobBytes, codecData, ...planTree(format.treeOf(index), { digest: wanted.layer }) };
}

/**
 * Lays out the image of a layer.
 *
 * @throws ResourceExhausted if it is too large, FailedPrecondition if EROFS cannot represent it
 */
export function planTree(tree: LayerTree, options: { digest: Digest; written?: WrittenData }): DiskFiles {
  const { metadata, diskBytes, chunks, firstChunks, paths } = planDisk(tree, options);
  return {
    metadata,
    diskBytes,
    chunks,
    stacking: stackingOf(tree),
    hints: hintsOf(tree, { chunks, firstChunks }),
    pathLines: pathLines(chunks, firstChunks, paths),
  };
}

function pathLines(table: ChunkTable, firstChunks: Uint32Array, paths: readonly string[]): string {
  return paths.map((path, i) => `${table.diskOffset[firstChunks[i]!]}\t${path.replaceAll('\n', '?')}\n`).join('');
}

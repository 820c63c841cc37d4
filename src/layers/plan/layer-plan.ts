import type { ChunkTable } from '../../chunks/chunk-table.ts';
import type { Digest } from '../../chunks/digest.ts';
import type { LayerFormat, RawIndex, WantedIndex } from '../../formats/layer-format.ts';
import type { LayerTree } from '../../formats/tree.ts';
import type { Front, PlanOptions } from '../../fronts/front.ts';
import { type Hints, hintsOf } from '../prefetch/layer-hints.ts';
import { type Stacking, stackingOf } from './stacking.ts';

/** Everything that is kept of an index. */
export interface LayerPlan extends DiskFiles {
  /** The digest of the index. */
  readonly indexDigest: Digest;
  readonly blobBytes: number;
}

/** The content of the files in a layer's directory, without the data. */
export interface DiskFiles {
  /** The name of the front that laid it out. */
  readonly front: string;
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
  front: Front,
): LayerPlan {
  const index = format.parse(raw, wanted);
  const { digest: indexDigest, blobBytes, codecData } = index;
  return { indexDigest, blobBytes, codecData, ...planTree(format.treeOf(index), front, { digest: wanted.layer }) };
}

/**
 * Lays out the image of a layer.
 *
 * @throws as `Front.plan`
 */
export function planTree(tree: LayerTree, front: Front, options: PlanOptions): DiskFiles {
  const { metadata, diskBytes, chunks, firstChunks, paths } = front.plan(tree, options);
  return {
    front: front.name,
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

import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { planDisk } from '../../fronts/erofs/plan.ts';
import { checkTocDigest, openToc, readTocJson } from '../../formats/estargz/toc.ts';
import { buildTree, type LayerTree } from '../../formats/tree.ts';
import type { WrittenData } from '../../fronts/erofs/data.ts';
import { type Hints, hintsOf } from '../prefetch/hints.ts';
import { type Stacking, stackingOf } from './stacking.ts';

/** A table of contents as it came, and what it must be. */
export interface TocSource {
  readonly digest: string;
  /** Of the manifest. Undefined where that is not known yet: then whoever uses the plan compares it with the plan's. */
  readonly tocDigest: string | undefined;
  readonly blobBytes: number;
  /** Where the table of contents begins in the blob. */
  readonly tocOffset: number;
  /** The blob from `tocOffset` on, without the footer. */
  readonly compressedToc: Uint8Array;
  /** How long its JSON may be, in bytes; undefined for what `limits.ts` says. */
  readonly maxTocBytes?: number | undefined;
}

/** All that is kept of a table of contents. */
export interface LayerPlan extends DiskFiles {
  /** `sha256:<hex>` of its JSON. */
  readonly tocDigest: string;
}

/** What the files of a layer's directory hold, but the data. */
export interface DiskFiles {
  /** The start of the disk: all but the files' data. */
  readonly metadata: Uint8Array;
  readonly diskBytes: number;
  readonly chunks: ChunkTable;
  readonly stacking: Stacking;
  readonly hints: Hints;
  /** A line for each file in the order of the disk: its offset, a tab, its path in Latin-1. */
  readonly pathLines: string;
}

/**
 * Turns a table of contents into a disk without data.
 *
 * @throws DataLoss for what is damaged or has another digest, ResourceExhausted for what is too large, FailedPrecondition for what EROFS cannot show
 */
export function planLayer({
  digest,
  tocDigest,
  blobBytes,
  tocOffset,
  compressedToc,
  maxTocBytes,
}: TocSource): LayerPlan {
  const toc = openToc(compressedToc, { blobSize: blobBytes, tocOffset }, maxTocBytes);
  if (tocDigest !== undefined) checkTocDigest(toc.tocDigest, tocDigest);
  const tree = buildTree(readTocJson(toc.json, tocOffset));
  return { tocDigest: toc.tocDigest, ...planTree(tree, { digest }) };
}

/**
 * Lays the disk of a layer out.
 *
 * @throws ResourceExhausted for what is too large, FailedPrecondition for what EROFS cannot show
 */
export function planTree(tree: LayerTree, options: { digest: string; written?: WrittenData }): DiskFiles {
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

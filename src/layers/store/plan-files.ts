import { hash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import type { LayerSums } from './layer-directory.ts';
import { type DiskFiles, type LayerPlan, planLayer, type TocSource } from '../plan/layer-plan.ts';

/** A table of contents, and where the files go that a plan of it is kept in. */
export interface PlanRequest extends TocSource {
  readonly diskPath: string;
  readonly tablePath: string;
  readonly pathsPath: string;
  readonly hintsPath: string;
  readonly stackingPath: string;
}

/** What the files of a layer's directory that were written hold. */
export interface Planned {
  /** `sha256:<hex>` of the JSON of the table of contents. */
  readonly tocDigest: string;
  readonly diskBytes: number;
  readonly metadataBytes: number;
  readonly table: ChunkTable;
  readonly sums: LayerSums;
}

/**
 * Turns the table of contents of a layer into an EROFS image without data, and its files in the layer's directory, with blocking system calls.
 *
 * @throws what `planLayer` does, and errors of the file system
 */
export function planFiles(request: PlanRequest): Planned {
  const plan = planLayer(request);
  const { tocDigest, diskBytes, metadata, chunks } = plan;
  return { tocDigest, diskBytes, metadataBytes: metadata.length, table: chunks, sums: write(plan, request) };
}

/** Where the files go that a plan is kept in. */
export type PlanPaths = Pick<PlanRequest, 'diskPath' | 'tablePath' | 'pathsPath' | 'hintsPath' | 'stackingPath'>;

/** Writes the files. @returns their digests */
function write(plan: LayerPlan, paths: PlanPaths): LayerSums {
  const disk = openSync(paths.diskPath, 'w', 0o600);
  try {
    return writePlan(plan, disk, paths);
  } finally {
    closeSync(disk);
  }
}

/**
 * Writes the metadata of a disk to its file, gives that its length, and writes the other files of the layer's directory. What is in the file behind the metadata stays.
 *
 * @returns the digests of what the files hold
 */
export function writePlan(
  { metadata, diskBytes, chunks, stacking, hints, pathLines }: DiskFiles,
  disk: number,
  paths: Omit<PlanPaths, 'diskPath'>,
): LayerSums {
  for (let at = 0; at < metadata.length; ) at += writeSync(disk, metadata, at, metadata.length - at, at);
  ftruncateSync(disk, diskBytes);
  const content = {
    table: new Uint8Array(chunks.digest.buffer),
    stacking: Buffer.from(JSON.stringify(stacking)),
    hints: Buffer.from(JSON.stringify(hints)),
  };
  writeFileSync(paths.tablePath, content.table, { mode: 0o600 });
  writeFileSync(paths.stackingPath, content.stacking, { mode: 0o600 });
  writeFileSync(paths.hintsPath, content.hints, { mode: 0o600 });
  writeFileSync(paths.pathsPath, pathLines, { encoding: 'latin1', mode: 0o600 });
  return {
    metadata: hash('sha256', metadata),
    table: hash('sha256', content.table),
    stacking: hash('sha256', content.stacking),
    hints: hash('sha256', content.hints),
  };
}

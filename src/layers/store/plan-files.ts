import { hash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import type { LayerFormat, RawIndex, WantedIndex } from '../../formats/layer-format.ts';
import type { Front } from '../../fronts/front.ts';
import { type DiskFiles, type LayerPlan, planLayer } from '../plan/layer-plan.ts';
import type { LayerPaths, LayerSums } from './layer-directory.ts';

/** An index, and the files for its plan. */
export interface PlanRequest {
  /** The name of its format. */
  readonly format: string;
  readonly raw: RawIndex;
  readonly wanted: WantedIndex;
  readonly paths: LayerPaths;
}

/** The content of the written files of a layer's directory. */
export interface Planned extends Pick<LayerPlan, 'indexDigest' | 'blobBytes' | 'diskBytes' | 'codecData' | 'front'> {
  readonly metadataBytes: number;
  readonly table: ChunkTable;
  readonly sums: LayerSums;
}

/**
 * Turns the index of a layer into an image without data, and writes the files of the layer's directory, with blocking
 * system calls.
 *
 * @throws as `planLayer`, and errors of the file system
 */
export function planFiles(format: LayerFormat, front: Front, { raw, wanted, paths }: PlanRequest): Planned {
  const plan = planLayer(format, raw, wanted, front);
  const { front: name, indexDigest, blobBytes, diskBytes, metadata, chunks, codecData } = plan;
  const sums = write(plan, paths);
  const metadataBytes = metadata.length;
  return { front: name, indexDigest, blobBytes, diskBytes, metadataBytes, table: chunks, codecData, sums };
}

/** Writes the files. @returns their digests */
function write(plan: LayerPlan, paths: LayerPaths): LayerSums {
  const disk = openSync(paths.diskPath, 'w', 0o600);
  try {
    return writePlan(plan, disk, paths);
  } finally {
    closeSync(disk);
  }
}

/**
 * Writes the metadata of an image to its file, extends the file to the image's length, and writes the other files of
 * the layer's directory. Data in the file after the metadata stays.
 *
 * @returns the digests of the files
 */
export function writePlan(
  { metadata, diskBytes, chunks, codecData, stacking, hints, pathLines }: DiskFiles,
  disk: number,
  paths: Omit<LayerPaths, 'diskPath'>,
): LayerSums {
  for (let at = 0; at < metadata.length; ) at += writeSync(disk, metadata, at, metadata.length - at, at);
  ftruncateSync(disk, diskBytes);
  const keep = (path: string, content: Uint8Array): string => {
    writeFileSync(path, content, { mode: 0o600 });
    return hash('sha256', content);
  };
  writeFileSync(paths.pathsPath, pathLines, { encoding: 'latin1', mode: 0o600 });
  return {
    metadata: hash('sha256', metadata),
    table: keep(paths.tablePath, new Uint8Array(chunks.digest.buffer)),
    stacking: keep(paths.stackingPath, Buffer.from(JSON.stringify(stacking))),
    hints: keep(paths.hintsPath, Buffer.from(JSON.stringify(hints))),
    ...(codecData && { codec: keep(paths.codecPath, new Uint8Array(codecData)) }),
  };
}

/** A thread that turns the table of contents of a layer into an EROFS image without data, and its files in the layer's directory. */
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import { planDisk } from '../erofs/plan.ts';
import { codeOf, type ErrorCode, messageOf } from '../errors.ts';
import { readToc } from '../formats/estargz/toc.ts';
import { buildTree } from '../formats/tree.ts';
import { hintsOf } from './hints.ts';
import { stackingOf } from './stacking.ts';

export interface PlanRequest {
  readonly id: number;
  readonly digest: string;
  readonly tocDigest: string;
  readonly blobBytes: number;
  /** Where the table of contents begins in the blob. */
  readonly tocOffset: number;
  /** The blob from `tocOffset` on, without the footer. */
  readonly compressedToc: Uint8Array;
  readonly diskPath: string;
  readonly tablePath: string;
  readonly pathsPath: string;
  readonly hintsPath: string;
  readonly stackingPath: string;
}

export type PlanAnswer =
  | { id: number; diskBytes: number; table: ChunkTable }
  | { id: number; error: { code: ErrorCode; message: string } };

const port = parentPort;
if (port === null) throw new Error('Cannot run outside a worker thread');

port.on('message', (request: PlanRequest) => {
  try {
    port.postMessage({ id: request.id, ...plan(request) } satisfies PlanAnswer);
  } catch (error) {
    const answer: PlanAnswer = { id: request.id, error: { code: codeOf(error), message: messageOf(error) } };
    port.postMessage(answer);
  }
});

function plan(request: PlanRequest): { diskBytes: number; table: ChunkTable } {
  const { tocDigest, tocOffset, blobBytes } = request;
  const index = readToc(request.compressedToc, { tocDigest, blobSize: blobBytes, tocOffset });
  const tree = buildTree(index);
  const { metadata, diskBytes, chunks, firstRows, paths } = planDisk(tree, { digest: request.digest });

  const disk = openSync(request.diskPath, 'w', 0o600);
  try {
    for (let at = 0; at < metadata.length; ) at += writeSync(disk, metadata, at, metadata.length - at, at);
    ftruncateSync(disk, diskBytes);
  } finally {
    closeSync(disk);
  }
  writeFileSync(request.tablePath, new Uint8Array(chunks.digest.buffer), { mode: 0o600 });
  writeFileSync(request.stackingPath, JSON.stringify(stackingOf(tree)), { mode: 0o600 });
  writeFileSync(request.hintsPath, JSON.stringify(hintsOf(tree, chunks)), { mode: 0o600 });
  writeFileSync(request.pathsPath, pathLines(chunks, firstRows, paths), { encoding: 'latin1', mode: 0o600 });
  return { diskBytes, table: chunks };
}

/** A line for each file in the order of the disk: its offset, a tab, its path. */
function pathLines(table: ChunkTable, firstRows: Uint32Array, paths: readonly string[]): string {
  return paths.map((path, i) => `${table.diskOffset[firstRows[i]!]}\t${path.replaceAll('\n', '?')}\n`).join('');
}

/** A thread that turns the table of contents of a layer into an EROFS image without data, and its files in the layer's directory. */
import { hash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import { codeOf, type ErrorCode, messageOf } from '../errors.ts';
import { BufferPressure } from '../util/buffer-pressure.ts';
import type { LayerSums } from './layer-directory.ts';
import { type LayerPlan, planLayer, type TocSource } from './layer-plan.ts';
import { rehearsePlanning } from './rehearsal.ts';

export interface PlanRequest extends TocSource {
  readonly id: number;
  readonly diskPath: string;
  readonly tablePath: string;
  readonly pathsPath: string;
  readonly hintsPath: string;
  readonly stackingPath: string;
}

export type PlanCommand = ({ kind: 'plan' } & PlanRequest) | { kind: 'rehearse' } | { kind: 'rest' };

/** What the files of a layer's directory that the thread wrote hold. */
export interface Planned {
  readonly diskBytes: number;
  readonly metadataBytes: number;
  readonly table: ChunkTable;
  readonly sums: LayerSums;
}

export type PlanAnswer =
  | ({ id: number } & Planned)
  | { id: number; error: { code: ErrorCode; message: string } }
  | { rested: true };

const port = parentPort;
if (port === null) throw new Error('Cannot run outside a worker thread');
const pressure = new BufferPressure();
let hasPlanned = false;

port.on('message', (command: PlanCommand) => {
  if (command.kind === 'rehearse') {
    void rehearsePlanning(() => !hasPlanned);
  } else if (command.kind === 'rest') {
    pressure.rest();
    port.postMessage({ rested: true } satisfies PlanAnswer);
  } else {
    hasPlanned = true;
    const answer = answerTo(command);
    port.postMessage(answer);
    if ('table' in answer) pressure.released(answer.table.digest.buffer.byteLength);
  }
});

function answerTo(request: PlanRequest): PlanAnswer {
  const { id } = request;
  try {
    const plan = planLayer(request);
    const { diskBytes, metadata, chunks } = plan;
    return { id, diskBytes, metadataBytes: metadata.length, table: chunks, sums: write(plan, request) };
  } catch (error) {
    return { id, error: { code: codeOf(error), message: messageOf(error) } };
  }
}

/** Writes the files. @returns their digests */

function write({ metadata, diskBytes, chunks, stacking, hints, pathLines }: LayerPlan, paths: PlanRequest): LayerSums {
  const disk = openSync(paths.diskPath, 'w', 0o600);
  try {
    for (let at = 0; at < metadata.length; ) at += writeSync(disk, metadata, at, metadata.length - at, at);
    ftruncateSync(disk, diskBytes);
  } finally {
    closeSync(disk);
  }
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

/** A thread that turns the table of contents of a layer into an EROFS image without data, and its files in the layer's directory. */
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import { codeOf, type ErrorCode, messageOf } from '../errors.ts';
import { BufferPressure } from '../util/buffer-pressure.ts';
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

export type PlanAnswer =
  | { id: number; diskBytes: number; table: ChunkTable }
  | { id: number; error: { code: ErrorCode; message: string } };

const port = parentPort;
if (port === null) throw new Error('Cannot run outside a worker thread');
const pressure = new BufferPressure();
let hasPlanned = false;

port.on('message', (command: PlanCommand) => {
  if (command.kind === 'rehearse') {
    void rehearsePlanning(() => !hasPlanned);
  } else if (command.kind === 'rest') {
    pressure.rest();
  } else {
    hasPlanned = true;
    port.postMessage(answerTo(command));
  }
});

function answerTo(request: PlanRequest): PlanAnswer {
  const { id } = request;
  try {
    const plan = planLayer(request);
    write(plan, request);
    return { id, diskBytes: plan.diskBytes, table: plan.chunks };
  } catch (error) {
    return { id, error: { code: codeOf(error), message: messageOf(error) } };
  }
}

function write({ metadata, diskBytes, chunks, stacking, hints, pathLines }: LayerPlan, paths: PlanRequest): void {
  const disk = openSync(paths.diskPath, 'w', 0o600);
  try {
    for (let at = 0; at < metadata.length; ) at += writeSync(disk, metadata, at, metadata.length - at, at);
    ftruncateSync(disk, diskBytes);
  } finally {
    closeSync(disk);
  }
  writeFileSync(paths.tablePath, new Uint8Array(chunks.digest.buffer), { mode: 0o600 });
  writeFileSync(paths.stackingPath, JSON.stringify(stacking), { mode: 0o600 });
  writeFileSync(paths.hintsPath, JSON.stringify(hints), { mode: 0o600 });
  writeFileSync(paths.pathsPath, pathLines, { encoding: 'latin1', mode: 0o600 });
}

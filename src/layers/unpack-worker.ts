/** A thread that inflates and verifies chunks and writes them to the disk files of their layers. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import { type ErrorCode, LazypullError, messageOf } from '../errors.ts';
import { BufferPressure } from '../util/buffer-pressure.ts';
import { unpackRows } from './unpack.ts';

export interface UnpackTarget {
  readonly id: number;
  readonly diskPath: string;
  readonly table: ChunkTable;
  readonly resident: Uint8Array;
}

export type UnpackCommand =
  | { kind: 'add'; target: UnpackTarget }
  | { kind: 'remove'; id: number }
  | { kind: 'rest' }
  | { kind: 'unpack'; job: number; id: number; first: number; last: number; bytes: Uint8Array; blobOffset: number };

/** Rows that failed, with the reason; the other rows of the job are resident. */
export interface UnpackResult {
  job: number;
  failures: { row: number; code: ErrorCode; message: string }[];
}

const port = parentPort;
if (port === null) throw new Error('Cannot run outside a worker thread');
const targets = new Map<number, UnpackTarget & { fd: number }>();
const pressure = new BufferPressure();
let tail: Promise<void> = Promise.resolve();

port.on('message', (command: UnpackCommand) => {
  // In the order of arrival: a target is removed after the jobs that were sent before.
  tail = tail.then(() => run(command));
});

async function run(command: UnpackCommand): Promise<void> {
  if (command.kind === 'add') {
    targets.set(command.target.id, { ...command.target, fd: openSync(command.target.diskPath, 'r+') });
  } else if (command.kind === 'remove') {
    const target = targets.get(command.id);
    if (target !== undefined) closeSync(target.fd);
    targets.delete(command.id);
  } else if (command.kind === 'rest') {
    pressure.rest();
  } else {
    port!.postMessage({ job: command.job, failures: await unpack(command) } satisfies UnpackResult);
  }
}

async function unpack(command: UnpackCommand & { kind: 'unpack' }): Promise<UnpackResult['failures']> {
  const target = targets.get(command.id);
  const { first, last } = command;
  const failures: UnpackResult['failures'] = [];
  if (target === undefined) {
    for (let row = first; row < last; row++) failures.push({ row, code: 'Canceled', message: 'The layer was closed' });
    return failures;
  }
  const bytes = Buffer.from(command.bytes.buffer, command.bytes.byteOffset, command.bytes.byteLength);
  for await (const unpacked of unpackRows(target.table, { first, last }, bytes, command.blobOffset)) {
    if ('error' in unpacked) {
      failures.push({ row: unpacked.row, code: unpacked.error.code, message: messageOf(unpacked.error) });
      continue;
    }
    try {
      // The place of a row is a hole until it is written, and that reads as zeros.
      if (!isZeros(unpacked.content)) writeWhole(target.fd, unpacked.content, target.table.diskOffset[unpacked.row]!);
      Atomics.store(target.resident, unpacked.row, 1);
      pressure.dropped(unpacked.content.length);
    } catch (error) {
      const message = `Cannot write to the disk file: ${messageOf(error)}`;
      failures.push({ row: unpacked.row, code: 'Unavailable', message });
    }
  }
  return failures;
}

const zeros = Buffer.alloc(64 << 10);

function isZeros(content: Buffer): boolean {
  for (let at = 0; at < content.length; at += zeros.length) {
    const piece = content.subarray(at, at + zeros.length);
    if (piece.compare(zeros, 0, piece.length) !== 0) return false;
  }
  return true;
}

function writeWhole(fd: number, content: Buffer, position: number): void {
  for (let done = 0; done < content.length; ) {
    const n = writeSync(fd, content, done, content.length - done, position + done);
    if (n === 0) throw new LazypullError('ResourceExhausted', 'Nothing could be written');
    done += n;
  }
}
